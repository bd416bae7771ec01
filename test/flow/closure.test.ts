import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { closureOf, topological } from '../../src/flow/closure.ts';
import { each } from '../../src/flow/each.ts';
import { Publisher } from '../../src/flow/publisher.ts';
import { sha256 } from '../../src/format/hash.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { defaultStoreDir, parseStorePath, type StorePath } from '../../src/format/store-path.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import type { Entry, Storage } from '../../src/storage/storage.ts';
import type { Store } from '../../src/store/store.ts';

const pathOf = (at: number): StorePath =>
  parseStorePath(`${defaultStoreDir}/${String(at).padStart(32, '0')}-p${at}`, defaultStoreDir);
const infoOf = (at: number, references: readonly number[]): PathInfo => ({
  path: pathOf(at),
  narHash: sha256(`nar ${at}`),
  narSize: 100 + at,
  references: references.map(pathOf).sort(),
  signatures: [],
});
const mapOf = (infos: readonly PathInfo[]) => new Map(infos.map(info => [info.path, info]));
const storeOf = (infos: readonly PathInfo[]): Store => {
  const map = mapOf(infos);
  return {
    url: 'test:',
    storeDir: defaultStoreDir,
    info: async path => map.get(path),
    byHashPart: async () => undefined,
    tree: path => path,
    pathOf: () => undefined,
  };
};

/** A graph without circles: each path refers to some before it, and perhaps to itself. */
const graph = fc
  .array(fc.array(fc.nat(30), { maxLength: 5 }), { minLength: 1, maxLength: 30 })
  .map(rows => rows.map((row, at) => infoOf(at, [...new Set(row.filter(to => to <= at))])));

test('a closure holds all that the roots reach, references first', async () => {
  await fc.assert(
    fc.asyncProperty(graph, fc.array(fc.nat(29)), async (infos, picks) => {
      const roots = picks.filter(at => at < infos.length).map(pathOf);
      const closure = await closureOf(roots, storeOf(infos));
      const seen = new Set<StorePath>();
      for (const { path, references } of closure) {
        for (const reference of references) assert.ok(reference === path || seen.has(reference));
        assert.ok(!seen.has(path), 'each once');
        seen.add(path);
      }
      const reachable = new Set(roots);
      for (const path of reachable)
        for (const next of mapOf(infos).get(path)!.references) reachable.add(next);
      assert.deepEqual([...seen].sort(), [...reachable].sort());
    }),
  );
});

test('a closure of 100,000 paths in a row does not overflow', async () => {
  const infos = Array.from({ length: 100_000 }, (_, at) => infoOf(at, at > 0 ? [at - 1] : []));
  const order = topological(mapOf(infos.toReversed()));
  assert.deepEqual(
    [order.length, order[0]?.path, order.at(-1)?.path],
    [100_000, pathOf(0), pathOf(99_999)],
  );
});

test('a root or a reference that the store lacks is absent, named with the store', async () => {
  await assert.rejects(closureOf([pathOf(7)], storeOf([])), {
    code: 'absent',
    message: /p7 in the store test:/,
  });
  const broken = [infoOf(2, [1])];
  await assert.rejects(closureOf([pathOf(2)], storeOf(broken)), {
    code: 'absent',
    message: /p1 .*p2 refers to it/,
  });
});

test('paths that refer to each other in a circle are corrupt', () => {
  assert.throws(() => topological(mapOf([infoOf(1, [2]), infoOf(2, [1])])), { code: 'corrupt' });
});

/** A memory storage that proves, at each narinfo, that its references and its file are there. */
function closedStorage(): { storage: Storage; names: string[] } {
  const memory = memoryStorage();
  const names: string[] = [];
  const publish = async (entries: readonly Entry[]): Promise<void> => {
    for (const entry of entries) {
      const [bytes] = [...(entry.body.open() as Iterable<Uint8Array>)];
      const info = parseNarInfo(Buffer.from(bytes!).toString('latin1'), defaultStoreDir);
      for (const reference of info.references) {
        const there = names.includes(reference) || reference === info.path;
        assert.ok(there, `${info.path} before ${reference}`);
      }
      names.push(info.path);
      await memory.put(entry.key, entry.body);
    }
  };
  return { storage: { ...memory, publish }, names };
}

const file = { url: 'nar/x.nar', compression: 'none' as const, fileHash: sha256('x'), fileSize: 1 };

test('whatever the order in which paths get ready, the cache is closed at every moment', async () => {
  await fc.assert(
    fc.asyncProperty(graph, fc.infiniteStream(fc.nat()), async (infos, chance) => {
      const { storage, names } = closedStorage();
      const publisher = new Publisher(storage, topological(mapOf(infos)), new Set());
      const left = [...infos];
      while (left.length > 0) {
        const [info] = left.splice(chance.next().value! % left.length, 1);
        publisher.ready(info!, file);
        if (chance.next().value! % 3 === 0) await publisher.publish();
      }
      await publisher.publish();
      assert.deepEqual([...publisher.held()], []);
      assert.equal(names.length, infos.length);
      assert.equal(publisher.published, infos.length);
    }),
  );
});

test('what refers to a path that failed is held, and so is what refers to that', async () => {
  const infos = [infoOf(0, []), infoOf(1, [0, 1]), infoOf(2, [1]), infoOf(3, [])];
  const { storage, names } = closedStorage();
  const publisher = new Publisher(storage, infos, new Set());
  for (const at of [1, 2, 3]) publisher.ready(infos[at]!, file);
  await publisher.publish();
  assert.deepEqual(names, [pathOf(3)]);
  assert.deepEqual(
    [...publisher.held()].map(({ path, behind }) => [path, behind]),
    [
      [pathOf(1), pathOf(0)],
      [pathOf(2), pathOf(1)],
    ],
  );
});

test('each works on all items, and on no more at once than it may', async () => {
  const seen: number[] = [];
  let [now, most] = [0, 0];
  await each(
    Array.from({ length: 50 }, (_, at) => at),
    4,
    async item => {
      most = Math.max(most, ++now);
      await new Promise(resolve => setTimeout(resolve, item % 3));
      seen.push(item);
      now -= 1;
    },
  );
  assert.equal(seen.length, 50);
  assert.equal(most, 4);
});

test('the first failure stops every lane of each, and is what is thrown', async () => {
  let started = 0;
  const failing = each(
    Array.from({ length: 100 }, (_, at) => at),
    3,
    async item => {
      started += 1;
      await new Promise(resolve => setTimeout(resolve, 1));
      if (item === 4) throw new Error('four');
    },
  );
  await assert.rejects(failing, /four/);
  assert.ok(started < 12, `${started} were started`);
});
