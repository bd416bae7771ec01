/** Realisations go with their paths, and none takes the place of another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect } from '../../src/bytes.ts';
import { putRealisations } from '../../src/flow/make-sides.ts';
import { generateKey, holds, parsePublicKey, parseSecretKey } from '../../src/format/key.ts';
import {
  parseRealisation,
  printRealisation,
  type Realisation,
  realisationFingerprint,
  realisationKey,
} from '../../src/format/realisation.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseStorePath, type StorePath } from '../../src/format/store-path.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { bodyOf, type Storage } from '../../src/storage/storage.ts';
import { graphStore } from '../../src/store/graph.ts';

const pathOf = (digit: string): StorePath =>
  parseStorePath(`${defaultStoreDir}/${digit.repeat(32)}-x`, defaultStoreDir);
const [low, high] = [pathOf('1'), pathOf('2')];
const idOf = (digit: string): string => `sha256:${digit.repeat(64)}!out`;
const ofLow: Realisation = { id: idOf('a'), path: low, dependsOn: new Map(), signatures: [] };
const ofHigh: Realisation = {
  id: idOf('b'),
  path: high,
  dependsOn: new Map([[ofLow.id, low]]),
  signatures: [],
};

async function textIn(storage: Storage, one: Realisation): Promise<string | undefined> {
  const found = await storage.get(realisationKey(one));
  return found && (await collect(found.bytes, 1e6))!.toString();
}

/** A store of two paths that has these; it gives those of the paths that it is asked for, as the database does. */
const originOf = (all: readonly Realisation[]) => ({
  store: {
    ...graphStore(
      'test',
      { infos: [], roots: [] },
      { storeDir: defaultStoreDir, real: '', state: '' },
    ),
    realisations: async (paths: readonly StorePath[]) =>
      all.filter(({ path, dependsOn }) =>
        [path, ...dependsOn.values()].every(each => paths.includes(each)),
      ),
  },
  paths: [low, high],
  derivers: new Set<StorePath>(),
});

const nothing = { lost: new Set<StorePath>(), excluded: new Set<StorePath>(), keys: [] };

test('the text is that of Nix 2.26, byte for byte', () => {
  assert.equal(
    printRealisation({ ...ofHigh, signatures: [parseSignature('k:AAAA')] }),
    `{"dependentRealisations":{"${idOf('a')}":"${'1'.repeat(32)}-x"},"id":"${idOf('b')}","outPath":"${'2'.repeat(32)}-x","signatures":["k:AAAA"]}`,
  );
});

test('what is depended on comes first, whatever the order in which the store tells', async () => {
  const order: string[] = [];
  const storage: Storage = {
    ...memoryStorage(),
    publish: async entries => {
      order.push(...entries.map(({ key }) => key));
    },
  };
  assert.equal(await putRealisations([originOf([ofHigh, ofLow])], storage, nothing), 2);
  assert.deepEqual(order, [ofLow, ofHigh].map(realisationKey));
});

test('none is there of a path that is not, or that depends on such; an excluded one is left to its cache', async () => {
  const origins = [originOf([ofLow, ofHigh])];
  for (const [wish, expected] of [
    [{ ...nothing, lost: new Set([low]) }, [false, false]],
    [{ ...nothing, lost: new Set([high]) }, [true, false]],
    [{ ...nothing, excluded: new Set([low]) }, [false, true]],
  ] as const) {
    const storage = memoryStorage();
    await putRealisations(origins, storage, wish);
    const there = await Promise.all([ofLow, ofHigh].map(one => textIn(storage, one)));
    assert.deepEqual(
      there.map(text => text !== undefined),
      expected,
    );
  }
});

test('signatures are united and right; another path is not overwritten, and what is none is', async () => {
  const storage = memoryStorage();
  const put = (text: string) => storage.put(realisationKey(ofLow), bodyOf(text));
  const mine = generateKey('mine-1');
  const wish = { ...nothing, keys: [parseSecretKey(mine.secret, 'test')] };
  const other = parseSignature('other-1:AAAA');
  await put(printRealisation({ ...ofLow, signatures: [other] }));
  assert.equal(await putRealisations([originOf([ofLow])], storage, wish), 1);
  const { signatures } = parseRealisation((await textIn(storage, ofLow))!, low)!;
  assert.equal(signatures.length, 2);
  const [signature] = signatures.filter(each => each !== other);
  const key = parsePublicKey(wish.keys[0]!.publicKey.text, 'test');
  assert.ok(holds(signature!, key, realisationFingerprint(ofLow)));
  assert.equal(await putRealisations([originOf([ofLow])], storage, wish), 0, 'nothing new');

  const text = printRealisation({ ...ofLow, path: high });
  await put(text);
  assert.equal(await putRealisations([originOf([ofLow])], storage, wish), 0);
  assert.equal(await textIn(storage, ofLow), text);
  await put('<html>');
  assert.equal(await putRealisations([originOf([ofLow])], storage, nothing), 1);
  assert.equal(await textIn(storage, ofLow), printRealisation(ofLow));
});

test('an id that could be the name of another file is refused', () => {
  for (const id of ['', 'sha256:x!out', `${idOf('a')}/../x`, `${idOf('a').slice(0, -3)}`, '../x'])
    assert.throws(() => realisationKey({ id }), { code: 'malformed' }, id);
});
