import assert from 'node:assert/strict';
import { copyFileSync, cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type SignOptions, sign } from '../../src/flow/sign.ts';
import { generateKey, holds, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { fingerprint } from '../../src/format/signature.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { bodyOf, type Storage } from '../../src/storage/storage.ts';
import { contentOf } from '../cache/proof.ts';
import { temporaryFolder } from '../temporary.ts';
import { gallery, Patient } from './damage.ts';
import { findingsIn, idsOf } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());
const names = Object.keys(healthy.paths) as readonly Name[];
const newKey = (name: string): SecretKey => parseSecretKey(generateKey(name).secret, 'test');
const second = newKey('second-1');

function patientOf(): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

const signIn = (cache: string | Storage, options: Partial<SignOptions> = {}) =>
  sign(typeof cache === 'string' ? directoryStorage(cache) : cache, {
    keys: [second],
    drop: [],
    unverified: false,
    jobs: 1,
    report: () => {},
    ...options,
  });

/** Names of the keys whose signatures of the path hold. */
function signersOf(patient: Patient, name: Name, keys = [healthy.key, second]): string[] {
  const info = parseNarInfo(patient.text(name), defaultStoreDir);
  const said = fingerprint(info);
  return info.signatures.map(
    signature => keys.find(({ publicKey }) => holds(signature, publicKey, said))?.name ?? '?',
  );
}

const withoutSignatures = (text: string): string => text.replace(/^Sig: .*\n/gm, '');

test('every path gets the signature, and nothing else of any file changes', async () => {
  const patient = patientOf();
  patient.edit('lib', text => `${text}Unknown:  line \n`);
  const [before, old] = [contentOf(patient.dir), names.map(name => patient.text(name))];
  const { changed, unchanged, refused } = await signIn(patient.dir);
  assert.deepEqual([changed.length, unchanged, refused], [5, 0, []]);
  for (const [at, name] of names.entries()) {
    assert.deepEqual(signersOf(patient, name).toSorted(), ['second-1', 'test-1']);
    assert.equal(withoutSignatures(patient.text(name)), withoutSignatures(old[at]!));
  }
  const others = (files: object) => Object.entries(files).filter(([key]) => !/narinfo$/.test(key));
  assert.deepEqual(others(contentOf(patient.dir)), others(before));
  assert.deepEqual(await findingsIn(patient.dir, { keys: [second.publicKey], sigsNeeded: 1 }), []);
});

test('signing twice changes nothing the second time, and dropping what is not there neither', async () => {
  const patient = patientOf();
  await signIn(patient.dir);
  const before = contentOf(patient.dir);
  const again = await signIn(patient.dir, { drop: ['nobody-1'] });
  assert.deepEqual([again.changed, again.unchanged], [[], 5]);
  assert.deepEqual(contentOf(patient.dir), before);
});

test('a key is rotated in one run, several at once', async () => {
  const patient = patientOf();
  const third = newKey('third-1');
  await signIn(patient.dir, { keys: [second, third], drop: ['test-1'] });
  for (const name of names)
    assert.deepEqual(signersOf(patient, name, [second, third]), ['second-1', 'third-1']);
});

test('dropping needs no proof: signatures of damaged paths go too', async () => {
  const patient = patientOf();
  gallery['a flipped bit in a NAR file']!.do(patient);
  const { changed, refused } = await signIn(patient.dir, { keys: [], drop: ['test-1'] });
  assert.deepEqual([changed.length, refused], [5, []]);
  for (const name of names) assert.deepEqual(signersOf(patient, name), []);
});

test('what is damaged is not signed, and told; all else is', async () => {
  const patient = patientOf();
  gallery['a flipped bit in a NAR file']!.do(patient);
  const found: string[] = [];
  const { changed, refused } = await signIn(patient.dir, {
    report: event => {
      if ('severity' in event) found.push(event.id);
    },
  });
  assert.deepEqual([changed.length, refused], [4, [healthy.paths.lib]]);
  assert.deepEqual(signersOf(patient, 'lib'), ['test-1']);
  assert.deepEqual(found.sort(), ['data-malformed', 'file-hash-wrong']);
});

test('a path of our own key that was damaged since is refused; it is no conflict', async () => {
  const patient = patientOf();
  gallery['a NarHash that is not true']!.do(patient);
  const { changed, unchanged, refused } = await signIn(patient.dir, { keys: [healthy.key] });
  assert.deepEqual([changed, unchanged, refused], [[], 4, [healthy.paths.app]]);
});

test('unverified, what is damaged is signed as it says', async () => {
  const patient = patientOf();
  gallery['a NarHash that is not true']!.do(patient);
  const { refused } = await signIn(patient.dir, { unverified: true });
  assert.deepEqual(refused, []);
  assert.deepEqual(signersOf(patient, 'app').toSorted(), ['?', 'second-1']);
});

test('unverified, what verify sees without reading NARs is refused all the same', async () => {
  const patient = patientOf();
  gallery['no NAR file']!.do(patient);
  const { refused } = await signIn(patient.dir, { unverified: true });
  assert.deepEqual(refused, [healthy.paths.app]);
});

test('another key of the same name is a conflict, before anything is written, unless its name is dropped', async () => {
  const patient = patientOf();
  const before = contentOf(patient.dir);
  const other = newKey('test-1');
  await assert.rejects(signIn(patient.dir, { keys: [other] }), {
    code: 'conflict',
    message: /"test-1".*--drop test-1/,
  });
  assert.deepEqual(contentOf(patient.dir), before);
  await signIn(patient.dir, { keys: [other], drop: ['test-1'] });
  for (const name of names) assert.deepEqual(signersOf(patient, name, [other]), ['test-1']);
});

test('a copy under a wrong name neither stops the signing nor is signed', async () => {
  const patient = patientOf();
  const copy = patient.file(`${'9'.repeat(32)}.narinfo`);
  copyFileSync(patient.file(patient.key('base')), copy);
  const before = contentOf(patient.dir)[`${'9'.repeat(32)}.narinfo`];
  const { changed, refused } = await signIn(patient.dir);
  assert.deepEqual([changed.length, refused], [5, []]);
  assert.equal(contentOf(patient.dir)[`${'9'.repeat(32)}.narinfo`], before);
});

test('a hole in the cache does not keep those from being signed that refer to it', async () => {
  const patient = patientOf();
  rmSync(patient.file(patient.key('base')));
  const { changed, refused } = await signIn(patient.dir);
  assert.deepEqual([changed.length, refused], [4, []]);
});

test('with roots, only their closures are signed', async () => {
  const patient = patientOf();
  const { changed } = await signIn(patient.dir, { roots: [healthy.paths.lib] });
  assert.deepEqual(changed.toSorted(), [healthy.paths.base, healthy.paths.lib].toSorted());
  assert.deepEqual(signersOf(patient, 'app'), ['test-1']);
});

for (const change of ['References: ', 'nonsense'])
  test(`a narinfo in which another writer puts "${change}" after it was verified is a conflict, not signed`, async () => {
    const patient = patientOf();
    const storage = directoryStorage(patient.dir);
    const key = patient.key('app');
    const changed = patient.text('app').replace(/^References: .*/m, change);
    let reads = 0;
    const raced: Storage = {
      ...storage,
      get: async (asked, span) => {
        if (asked === key && ++reads === 2) await storage.put(key, bodyOf(changed));
        return storage.get(asked, span);
      },
    };
    await assert.rejects(signIn(raced), {
      code: 'conflict',
      message: /run the same command again/,
    });
    assert.deepEqual(patient.text('app'), changed);
    assert.equal(reads, 2);
  });

test('a narinfo that goes away after it was verified is passed over', async () => {
  const patient = patientOf();
  const storage = directoryStorage(patient.dir);
  const key = patient.key('app');
  let reads = 0;
  const raced: Storage = {
    ...storage,
    get: async (asked, span) => {
      if (asked === key && ++reads === 2) await storage.delete!(key);
      return storage.get(asked, span);
    },
  };
  const { changed } = await signIn(raced);
  assert.equal(changed.length, 4);
  assert.deepEqual(idsOf(await findingsIn(patient.dir)), ['listing-orphan', 'nar-orphan']);
});

test('signed paths are published with one call, after which each holds', async () => {
  const patient = patientOf();
  const storage = directoryStorage(patient.dir);
  const batches: number[] = [];
  const counted: Storage = {
    ...storage,
    put: () => assert.fail('a narinfo must not be put outside of a batch'),
    publish: entries => {
      batches.push(entries.length);
      return storage.publish(entries);
    },
  };
  await signIn(counted);
  assert.deepEqual(batches, [5]);
});

test('a path that is refused keeps the signatures that were to be dropped', async () => {
  const patient = patientOf();
  gallery['a listing that is no JSON']!.do(patient);
  const { changed, refused } = await signIn(patient.dir, { drop: ['test-1'] });
  assert.deepEqual([changed.length, refused], [4, [healthy.paths.app]]);
  assert.deepEqual(signersOf(patient, 'app'), ['test-1']);
});
