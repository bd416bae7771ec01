import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { topological } from '../../src/flow/closure.ts';
import { Publisher } from '../../src/flow/publisher.ts';
import { sha256 } from '../../src/format/hash.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import type { Entry, Storage } from '../../src/storage/storage.ts';
import { graph, infoOf, mapOf, pathOf } from './graphs.ts';

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

test('what was in the cache before holds nobody up, and is not published again', async () => {
  const { storage, names } = closedStorage();
  names.push(pathOf(0));
  const publisher = new Publisher(storage, [infoOf(1, [0])], new Set([pathOf(0)]));
  publisher.ready(infoOf(1, [0]), file);
  await publisher.publish();
  assert.deepEqual(names, [pathOf(0), pathOf(1)]);
});

test('batches that are asked for at once follow each other', async () => {
  let now = 0;
  const { storage, names } = closedStorage();
  const slow = async (entries: readonly Entry[]): Promise<void> => {
    assert.equal(++now, 1, 'another batch is being written');
    await new Promise(resolve => setTimeout(resolve, 2));
    await storage.publish(entries);
    now -= 1;
  };
  const infos = [infoOf(0, []), infoOf(1, [0]), infoOf(2, [1])];
  const publisher = new Publisher({ ...storage, publish: slow }, infos, new Set());
  const batches = infos.toReversed().map(info => {
    publisher.ready(info, file);
    return publisher.publish();
  });
  await Promise.all(batches);
  assert.deepEqual(
    names,
    infos.map(({ path }) => path),
  );
});

test('a batch that fails is thrown, and none of its paths counts as published', async () => {
  const { storage } = closedStorage();
  const full = async (): Promise<void> => {
    throw new Error('disk full');
  };
  const publisher = new Publisher({ ...storage, publish: full }, [infoOf(0, [])], new Set());
  publisher.ready(infoOf(0, []), file);
  await assert.rejects(publisher.publish(), /disk full/);
  assert.equal(publisher.published, 0);
});
