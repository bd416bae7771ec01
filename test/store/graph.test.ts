import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseReferencesGraph } from '../../src/format/references-graph.ts';
import { parseStoreDir, parseStorePath } from '../../src/format/store-path.ts';
import { graphStore } from '../../src/store/graph.ts';
import { resolveRoot } from '../../src/store/roots.ts';

const storeDir = parseStoreDir('/nix/store');
const names = ['a', 'b'].map(char => `${char.repeat(32)}-${char}`);
const [a, b] = names.map(name => parseStorePath(`${storeDir}/${name}`, storeDir));
const narHash = `sha256:${'0'.repeat(52)}`;
const graph = parseReferencesGraph(
  JSON.stringify([
    { path: a, narHash, narSize: 1, references: [a, b] },
    { path: b, narHash, narSize: 2, references: [] },
  ]),
  storeDir,
);
const places = { storeDir, real: '/mnt/ő/nix/store', state: '/no/state' };
const store = graphStore('graph.json', graph, places);

test('a graph is a store: its paths by name and by hash part, and no others', async () => {
  const [infoA, infoB] = graph.infos;
  assert.deepEqual([await store.info(a!), await store.info(b!)], [infoA, infoB]);
  assert.equal(await store.byHashPart('b'.repeat(32)), infoB);
  const other = `${'c'.repeat(32)}-c`;
  assert.equal(await store.info(parseStorePath(`${storeDir}/${other}`, storeDir)), undefined);
  assert.equal(await store.byHashPart('c'.repeat(32)), undefined);
  assert.equal(store.url, 'graph.json');
});

test('its trees lie where the files of the store really do, in latin-1', () => {
  const content = store.content(a!) as { tree: string };
  const tree = Buffer.from(content.tree, 'latin1').toString();
  assert.equal(tree, `/mnt/ő/nix/store/${names[0]}`);
});

test('its roots can be given by store path, by a file inside, and by where they really lie', () => {
  for (const text of [a!, `${a}/bin/a`, `${places.real}/${names[0]}/bin`])
    assert.equal(resolveRoot(text, store), a);
});
