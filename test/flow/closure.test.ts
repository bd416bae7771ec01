import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { closureOf, topological } from '../../src/flow/closure.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { defaultStoreDir, type StorePath } from '../../src/format/store-path.ts';
import type { Store } from '../../src/store/store.ts';
import { graph, infoOf, mapOf, pathOf } from './graphs.ts';

const storeOf = (infos: readonly PathInfo[]): Store => {
  const map = mapOf(infos);
  return {
    url: 'test:',
    storeDir: defaultStoreDir,
    info: async path => map.get(path),
    byHashPart: async () => undefined,
    content: path => ({ tree: path }),
    advice: () => '',
    pathOf: () => undefined,
  };
};

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
