import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair, type RepairSource } from '../../src/flow/repair-plan.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { contentOf, proofOf } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { gallery, Patient } from './damage.ts';
import { findingsIn } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());

function patientOf(): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

const stores: readonly RepairSource[] = [{ store: healthy.store }, { store: healthy.added }];
const secondCache: readonly RepairSource[] = [{ cache: directoryStorage(healthy.cache) }];

async function repair(
  cache: string | Storage,
  sources: readonly RepairSource[],
  { drop = false } = {},
) {
  const storage = typeof cache === 'string' ? directoryStorage(cache) : cache;
  const options = { jobs: 1, drop, report: () => {} };
  const plan = await planRepair(storage, sources, options);
  return { plan, ...(await executeRepair(plan, storage, options)) };
}

/** What is still wrong, but for NAR files that nothing names: they go by gc, after their grace. */
const damageIn = async (dir: string) =>
  (await findingsIn(dir)).filter(({ severity }) => severity === 'damage');

for (const [what, damage] of Object.entries(gallery))
  for (const [from, sources] of [
    ['the store', stores],
    ['a second cache', secondCache],
  ] as const)
    if (damage.heals)
      test(`repair heals ${what}, from ${from}`, async () => {
        const patient = patientOf();
        damage.do(patient);
        const { plan, lost, failed } = await repair(patient.dir, sources);
        assert.deepEqual([lost, [...failed], plan.others], [[], [], []]);
        const left = (await findingsIn(patient.dir)).filter(({ id }) => id !== 'nar-orphan');
        assert.deepEqual(left, []);
        if (damage.heals === 'same' && from === 'a second cache')
          assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache));
      });
    else
      test(`repair leaves to a person, or to gc, ${what}, from ${from}`, async () => {
        const patient = patientOf();
        damage.do(patient);
        const before = await damageIn(patient.dir);
        const { plan, lost, healed } = await repair(patient.dir, sources);
        assert.deepEqual([lost, healed], [[], []]);
        assert.deepEqual(await damageIn(patient.dir), before);
        assert.deepEqual(plan.others, before);
      });

test('repair changes no byte of a whole cache', async () => {
  const { dir } = patientOf();
  const before = contentOf(dir);
  const { code, stdout } = await granary(['repair', '--from', healthy.cache, dir]);
  assert.equal(code, 0);
  assert.match(stdout, /is whole: nothing to do/);
  assert.deepEqual(contentOf(dir), before);
});

test('nothing is written through a link that leads out of the cache', async () => {
  for (const what of [
    'a link out of the cache in the place of an empty folder',
    'a link out of the cache in the place of all NAR files',
    'a link in the place of nix-cache-info',
  ]) {
    const patient = patientOf();
    gallery[what]!.do(patient);
    gallery['a flipped bit in a NAR file']!.do(patient);
    const elsewhere = `${patient.dir}.elsewhere`;
    const isFolder = statSync(elsewhere).isDirectory();
    if (isFolder) rmSync(join(elsewhere, 'KEEP'));
    const contents = () => (isFolder ? contentOf(elsewhere) : readFileSync(elsewhere, 'latin1'));
    const before = contents();
    await repair(patient.dir, secondCache);
    assert.deepEqual(contents(), before, what);
  }
});

test('a source that is itself damaged is passed over for the next, and told when it is the last', async () => {
  const [patient, bad] = [patientOf(), patientOf()];
  gallery['a flipped bit in a NAR file']!.do(patient);
  gallery['other content in a NAR']!.do(bad);
  rmSync(bad.file(bad.url('lib')));
  const badSource = { cache: directoryStorage(bad.dir) };
  const before = contentOf(patient.dir);
  const alone = await repair(patient.dir, [badSource]);
  assert.deepEqual([...alone.failed.keys()], [healthy.paths.lib]);
  assert.equal(alone.lost.length, 1);
  assert.deepEqual(contentOf(patient.dir), before, 'what was there stays until its proof');
  const { healed, failed } = await repair(patient.dir, [badSource, ...secondCache]);
  assert.deepEqual([healed, failed.size], [[healthy.paths.lib], 0]);
  assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache));
});

test('a store whose files changed is no source: the next one is asked', async () => {
  const folder = temporaryFolder();
  const rotten = await makeHealthy(folder);
  writeFileSync(join(folder, 'store', rotten.paths.lib.slice(11), 'lib/other'), 'rot');
  const patient = patientOf();
  gallery['a flipped bit in a NAR file']!.do(patient);
  const { healed } = await repair(patient.dir, [{ store: rotten.store }, ...secondCache]);
  assert.deepEqual(healed, [healthy.paths.lib]);
  assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache));
});

test('a narinfo of a source that cannot be read is told, and is no offer', async () => {
  const [patient, bad] = [patientOf(), patientOf()];
  gallery['no NAR file']!.do(patient);
  gallery['a narinfo that is no narinfo']!.do(bad);
  const { plan, lost } = await repair(patient.dir, [{ cache: directoryStorage(bad.dir) }]);
  assert.equal(plan.refused.length, 1);
  assert.match(plan.refused[0]!.message, /^Cannot take 3{32}\.narinfo from .*: /);
  assert.deepEqual(lost, ['3'.repeat(32)]);
});

test('what a healed path refers to comes along', async () => {
  const patient = patientOf();
  for (const name of ['base', 'lib', 'app'] as const) rmSync(patient.file(patient.key(name)));
  patient.edit('twin', text => text.replace('References: ', `$&${patient.base('app')}`));
  const { healed, lost } = await repair(patient.dir, stores);
  assert.deepEqual([healed.length, lost], [3, []]);
  assert.deepEqual(await damageIn(patient.dir), []);
});

test('signatures that still hold are kept; those of another content are not', async () => {
  const patient = patientOf();
  const signed = /^Sig: .*$/m.exec(patient.text('app'))![0];
  rmSync(patient.file(patient.url('app')));
  await repair(patient.dir, stores);
  assert.ok(patient.text('app').includes(signed), 'the store has none: it comes from the old');
  patient.repack('app', nar => Buffer.concat([nar, nar]));
  patient.field('app', 'NarSize', '1');
  await repair(patient.dir, stores);
  assert.doesNotMatch(patient.text('app'), /^Sig/m);
});

test('a path is compressed anew as it was', async () => {
  const patient = patientOf();
  patient.field('app', 'Compression', 'gzip');
  patient.field('base', 'Compression', 'lzip');
  gallery['a flipped bit in a NAR file']!.do(patient);
  rmSync(patient.file(patient.url('base')));
  await repair(patient.dir, stores);
  const compressionOf = (name: Name) =>
    parseNarInfo(patient.text(name), defaultStoreDir).file.compression;
  assert.deepEqual((['app', 'base', 'lib'] as const).map(compressionOf), ['gzip', 'zstd', 'zstd']);
  assert.deepEqual(await damageIn(patient.dir), []);
});

test('drop removes referrers before what they refer to, a narinfo before its listing, and leaves a closed cache', async () => {
  const patient = patientOf();
  rmSync(patient.file(patient.url('lib')));
  const storage = directoryStorage(patient.dir);
  const { removed, lost } = await repair(storage, [], { drop: true });
  const [app, lib] = (['app', 'lib'] as const).map(name => patient.key(name).slice(0, 32));
  assert.deepEqual(removed, [`${app}.narinfo`, `${app}.ls`, `${lib}.narinfo`, `${lib}.ls`]);
  assert.deepEqual(lost, []);
  assert.deepEqual(await damageIn(patient.dir), []);
  assert.deepEqual((await proofOf(patient.dir)).faults, []);
});

test('drop takes what could be had but whose reference could not, and unreadable referrers too', async () => {
  const [patient, half] = [patientOf(), patientOf()];
  patient.edit('app', () => 'nonsense');
  for (const name of ['base', 'lib'] as const) rmSync(patient.file(patient.key(name)));
  rmSync(half.file(half.key('base')));
  const source = { cache: directoryStorage(half.dir) };
  const { lost, failed, healed } = await repair(patient.dir, [source]);
  assert.deepEqual(healed, []);
  assert.deepEqual(
    lost.toSorted(),
    ['1', '2', '3'].map(digit => digit.repeat(32)),
  );
  const said = [...failed].map(([path, { message }]) => [path, message]);
  assert.equal(said.length, 2, 'app and lib could be had');
  assert.match(said.map(([, message]) => message).join('\n'), /-lib: it refers to .*-base, which/);
  await repair(patient.dir, [source], { drop: true });
  assert.deepEqual(
    readdirSync(patient.dir)
      .filter(name => name.endsWith('.narinfo'))
      .sort(),
    [patient.key('twin'), patient.key('plain')].sort(),
  );
  assert.deepEqual(await damageIn(patient.dir), []);
});

test('drop removes a path that was healed, when what it refers to could not be', async () => {
  const [patient, half] = [patientOf(), patientOf()];
  gallery['a flipped bit in a NAR file']!.do(patient);
  gallery['no NAR file']!.do(patient);
  rmSync(half.file(half.url('lib')));
  const { healed, removed } = await repair(patient.dir, [{ cache: directoryStorage(half.dir) }], {
    drop: true,
  });
  assert.deepEqual(healed, [healthy.paths.app]);
  assert.equal(removed[0], patient.key('app'));
  assert.deepEqual(await damageIn(patient.dir), []);
});

test('drop removes misplaced narinfos, also such as cannot be read', async () => {
  const patient = patientOf();
  writeFileSync(patient.file('old copy.narinfo'), 'nonsense');
  const { plan, removed } = await repair(patient.dir, [], { drop: true });
  assert.deepEqual(
    plan.others.map(({ id }) => id),
    ['narinfo-malformed'],
  );
  assert.deepEqual(removed, ['old copy.narinfo']);
  assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache));
});

test('where nothing can be deleted, drop is refused before anything is written', async () => {
  const patient = patientOf();
  gallery['no log folder']!.do(patient);
  gallery['no NAR file']!.do(patient);
  const before = contentOf(patient.dir);
  const { delete: _, ...storage } = directoryStorage(patient.dir);
  await assert.rejects(repair(storage, [], { drop: true }), { code: 'usage' });
  assert.deepEqual(contentOf(patient.dir), before);
});

test('where a folder cannot be seen into, drop is refused before anything is written', async () => {
  const patient = patientOf();
  gallery['a link out of the cache in the place of all NAR files']!.do(patient);
  gallery['no log folder']!.do(patient);
  const before = contentOf(patient.dir);
  await assert.rejects(repair(patient.dir, secondCache, { drop: true }), {
    code: 'usage',
    message: /nar/,
  });
  assert.deepEqual(contentOf(patient.dir), before);
});

test('a dry run writes nothing, and tells by its exit status whether there is something to do', async () => {
  const { dir } = patientOf();
  const dryRun = () => granary(['repair', '--dry-run', '--from', healthy.cache, dir]);
  assert.equal((await dryRun()).code, 0);
  const patient = new Patient(healthy, dir);
  gallery['no log folder']!.do(patient);
  gallery['no NAR file']!.do(patient);
  const before = contentOf(dir);
  const { code, stdout } = await dryRun();
  assert.equal(code, 1);
  assert.match(stdout, /^To heal: \/nix\/store\/3{32}-app, from \//m);
  assert.deepEqual(contentOf(dir), before);
});

test('what nobody has stays as it is, is named, and the exit status is 5', async () => {
  const patient = patientOf();
  gallery['no NAR file']!.do(patient);
  writeFileSync(patient.file('old copy.narinfo'), 'nonsense');
  const before = contentOf(patient.dir);
  const { code, stdout } = await granary(['repair', patient.dir]);
  assert.equal(code, 5);
  assert.match(stdout, /^Nobody has: \/nix\/store\/3{32}-app$/m);
  assert.match(stdout, /^For you to mend: .*old copy\.narinfo/m);
  assert.match(stdout, /0 paths healed, 0 files removed, 2 still damaged; add another --from/);
  assert.deepEqual(contentOf(patient.dir), before);
});

test('a cache inside a Nix store is not repaired, and left as it is', async () => {
  const dir = join(temporaryFolder(), `${'5'.repeat(32)}-cache`);
  cpSync(healthy.cache, dir, { recursive: true });
  rmSync(join(dir, 'log'), { recursive: true });
  const { code, stderr } = await granary(['repair', dir]);
  assert.equal(code, 2);
  assert.match(stderr, /lies in a Nix store/);
  assert.ok(!readdirSync(dir).includes('log'));
});

test('a store dir of its own is kept, and a broken nix-cache-info is mended by its narinfos', async () => {
  const dir = join(temporaryFolder(), 'cache');
  mkdirSync(dir);
  writeFileSync(join(dir, 'x.txt'), 'a tree');
  const made = join(temporaryFolder(), 'made');
  const { code, stderr } = await granary([
    ...['make', '--to', made, '--from', 'local?store=/gnu/store', '--add', `${dir}=tree`],
  ]);
  assert.equal(code, 0, stderr);
  rmSync(join(made, 'nix-cache-info'));
  assert.equal((await granary(['repair', made])).code, 0);
  assert.match(readFileSync(join(made, 'nix-cache-info'), 'latin1'), /^StoreDir: \/gnu\/store$/m);
});

test('another key signs, and repair from the other cache unites the signatures', async () => {
  const [patient, other] = [patientOf(), patientOf()];
  const key = parseSecretKey(generateKey('other-1').secret, 'test');
  assert.equal(key.name, 'other-1');
  const file = join(temporaryFolder(), 'key');
  writeFileSync(file, generateKey('other-1').secret);
  assert.equal((await granary(['sign', '--sign', file, other.dir])).code, 0);
  rmSync(patient.file(patient.url('app')));
  await repair(patient.dir, [{ cache: directoryStorage(other.dir) }]);
  const info = parseNarInfo(patient.text('app'), defaultStoreDir);
  assert.deepEqual(info.signatures.map(each => each.split(':')[0]).sort(), ['other-1', 'test-1']);
});

test('what a source says of where its file lies does not decide where ours does', async () => {
  for (const url of [`${'5'.repeat(32)}.narinfo/x`, `nar/${'x'.repeat(245)}`, 'log/x']) {
    const [patient, other] = [patientOf(), patientOf()];
    rmSync(patient.file(patient.key('base')));
    mkdirSync(join(other.file(url), '..'), { recursive: true });
    cpSync(other.file(other.url('base')), other.file(url));
    other.field('base', 'URL', url);
    const { healed } = await repair(patient.dir, [{ cache: directoryStorage(other.dir) }]);
    assert.deepEqual(healed, [healthy.paths.base], url);
    assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache), url);
  }
});

test('a misplaced narinfo that is the only one of its path stays until the path is healed', async () => {
  const [patient, bad] = [patientOf(), patientOf()];
  renameSync(patient.file(patient.key('base')), patient.file('foo.narinfo'));
  rmSync(bad.file(bad.url('base')));
  const before = contentOf(patient.dir);
  await repair(patient.dir, [{ cache: directoryStorage(bad.dir) }]);
  assert.deepEqual(contentOf(patient.dir), before);
  await repair(patient.dir, secondCache);
  assert.deepEqual(contentOf(patient.dir), contentOf(healthy.cache));
});

test('what a source could not be asked for is not dropped', async () => {
  const patient = patientOf();
  rmSync(patient.file(patient.url('lib')));
  const sick: Storage = {
    ...directoryStorage(healthy.cache),
    get: async () => {
      throw new GranaryError('unavailable', 'Cannot read: the disk hiccups');
    },
  };
  const before = contentOf(patient.dir);
  const { lost, removed } = await repair(patient.dir, [{ cache: sick }], { drop: true });
  assert.deepEqual([lost, removed], [[patient.key('lib').slice(0, 32)], []]);
  assert.deepEqual(contentOf(patient.dir), before);
});

const putBack = (patient: Patient, key: string): void =>
  cpSync(join(healthy.cache, key), patient.file(key));

test('what was put in anew after the plan was made is not dropped, nor anything else', async () => {
  for (const heal of [
    (patient: Patient) => putBack(patient, patient.url('lib')),
    (patient: Patient) => putBack(patient, patient.key('base')),
    (patient: Patient) =>
      patient.edit('app', text =>
        text.replace(/^Deriver: .*\n/m, '').replace(/^URL: nar\//m, 'URL: nar/other-'),
      ),
  ]) {
    const patient = patientOf();
    rmSync(patient.file(patient.url('lib')));
    patient.edit('base', () => 'nonsense');
    const storage = directoryStorage(patient.dir);
    const options = { jobs: 1, drop: true, report: () => {} };
    const plan = await planRepair(storage, [], options);
    heal(patient);
    const before = contentOf(patient.dir);
    await assert.rejects(executeRepair(plan, storage, options), {
      code: 'conflict',
      message: /^Cannot drop .* from .*: somebody changed it after it was verified; run the same/,
    });
    assert.deepEqual(contentOf(patient.dir), before);
  }
});

test('a debuginfo file stays while the NAR that it leads to may come back', async () => {
  const patient = patientOf();
  patient.link({ archive: `../${patient.url('lib')}`, member: 'lib/lib.so' });
  rmSync(patient.file(patient.url('lib')));
  const { removed } = await repair(patient.dir, []);
  assert.deepEqual(removed, []);
});

test('a nix-cache-info that cannot be read, or is a folder, is no whole cache, and stops nothing', async () => {
  for (const spoil of [
    (file: string) => truncateSync(file, 65 << 20),
    (file: string) => {
      rmSync(file);
      mkdirSync(file);
    },
  ]) {
    const patient = patientOf();
    spoil(patient.file('nix-cache-info'));
    rmSync(patient.file(patient.url('lib')));
    const { plan, healed } = await repair(patient.dir, secondCache);
    assert.deepEqual(healed, [healthy.paths.lib]);
    assert.ok(plan.others.some(({ key }) => key === 'nix-cache-info'));
  }
});

test('drop names only what it removed, and leaves folders to a person', async () => {
  const patient = patientOf();
  rmSync(patient.file(patient.url('lib')));
  for (const name of ['app', 'lib'] as const)
    rmSync(patient.file(patient.key(name).replace('narinfo', 'ls')));
  mkdirSync(patient.file(patient.key('lib').replace('narinfo', 'ls')));
  const { removed } = await repair(patient.dir, [], { drop: true });
  assert.deepEqual(removed, [patient.key('app'), patient.key('lib')]);
});

test('with roots only their closures are healed: a narinfo in the place of another gives way, a copy elsewhere stays', async () => {
  const patient = patientOf();
  const { app } = healthy.paths;
  gallery['an empty narinfo']!.do(patient); // of twin
  writeFileSync(patient.file(patient.key('lib')), patient.text('base'));
  const before = patient.text('twin');
  const storage = directoryStorage(patient.dir);
  const options = { roots: [app], jobs: 1, drop: false, report: () => {} };
  const plan = await planRepair(storage, secondCache, options);
  const { healed, removed, lost } = await executeRepair(plan, storage, options);
  assert.deepEqual([healed, removed, lost], [[healthy.paths.lib], [], []]);
  assert.deepEqual(plan.others, []);
  assert.equal(patient.text('twin'), before);
  assert.deepEqual(await findingsIn(patient.dir, { roots: [app] }), []);
});

const belowBroken: Readonly<Record<string, readonly [(patient: Patient) => void, boolean]>> = {
  'whole stays as it is, with its signatures': [() => {}, false],
  'damaged is healed with it': [patient => rmSync(patient.file(patient.url('base'))), true],
  "another's narinfo is healed with it": [
    patient => writeFileSync(patient.file(patient.key('base')), patient.text('twin')),
    true,
  ],
  'missing is healed with it': [patient => rmSync(patient.file(patient.key('base'))), true],
};

for (const [what, [harm, isHealed]] of Object.entries(belowBroken))
  test(`with roots, what is below a broken narinfo and ${what}`, async () => {
    const patient = patientOf();
    const { app, lib, base } = healthy.paths;
    writeFileSync(patient.file(patient.key('lib')), 'no narinfo');
    const signed = patient.text('base').replace(/^Sig: .*\n/gm, '');
    writeFileSync(patient.file(patient.key('base')), `${signed}Sig: mine-1:${'A'.repeat(86)}==\n`);
    const before = patient.text('base');
    harm(patient);
    const storage = directoryStorage(patient.dir);
    const options = { roots: [app], jobs: 1, drop: false, report: () => {} };
    const plan = await planRepair(storage, secondCache, options);
    const { healed, lost } = await executeRepair(plan, storage, options);
    assert.deepEqual([healed.toSorted(), lost], [isHealed ? [base, lib].toSorted() : [lib], []]);
    if (!isHealed) assert.equal(patient.text('base'), before);
    assert.deepEqual(await findingsIn(patient.dir, { roots: [app] }), []);
  });

test('a narinfo in the place of another gives way to it, and what was healed is not removed', async () => {
  const patient = patientOf();
  writeFileSync(patient.file(patient.key('lib')), patient.text('base'));
  const { healed, removed } = await repair(patient.dir, secondCache);
  assert.deepEqual([healed, removed], [[healthy.paths.lib], []]);
  assert.deepEqual(await findingsIn(patient.dir), []);
});
