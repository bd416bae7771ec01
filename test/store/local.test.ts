/** Path infos and closures from Nix's database: what Nix itself says of them, whoever wrote it. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseHash } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { hashPart, parseStoreDir, parseStorePath } from '../../src/format/store-path.ts';
import { localStore } from '../../src/store/local.ts';
import { openStore } from '../../src/store/open.ts';
import type { Store } from '../../src/store/store.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { scratch } from '../clients/kept.ts';
import { ages, type ClientStore, freshStore, nix, whyNoClients } from '../clients/nix.ts';
import { temporaryFolder } from '../temporary.ts';
import { makeDatabase, type Row } from './made-database.ts';

const skip = await whyNoClients();

/** What Nix and we say, in the same words. */
type Told = Readonly<Record<string, unknown>>;

const ourWords = (info: PathInfo): Told => ({
  narHash: info.narHash,
  narSize: info.narSize,
  references: info.references,
  deriver: info.deriver ?? null,
  ca: info.ca ?? null,
  signatures: [...info.signatures].sort(),
});

/** What the newest Nix says of these paths and of all that they refer to. */
async function theirWords(store: ClientStore, roots: readonly string[]): Promise<Told> {
  const newest = await nix('newest');
  const args = ['path-info', '--json', '--json-format', '1', '--recursive', ...roots];
  const infos: Record<string, Told> = JSON.parse(await newest.check('nix', args, { store }));
  const words = ({ narHash, narSize, references, deriver, ca, signatures }: Told) => ({
    narHash: parseHash(narHash as string),
    narSize,
    references: (references as string[]).toSorted(),
    deriver,
    ca,
    signatures: (signatures as string[]).toSorted(),
  });
  return Object.fromEntries(Object.entries(infos).map(([path, info]) => [path, words(info)]));
}

/** Asks our store in all three ways; each has to say the same. */
async function askedOf(store: Store, roots: readonly string[]): Promise<Told> {
  const told: Record<string, Told> = {};
  for (const [path, info] of await store.closure!(roots.map(root => store.pathOf(root)!))) {
    assert.equal(info.path, path);
    assert.deepEqual(await store.info(path), info);
    assert.deepEqual(await store.byHashPart(hashPart(path)), info);
    told[path] = ourWords(info);
  }
  return told;
}

test("Debian's git: hashes, sizes, references, self-references and derivers are Nix's", {
  skip,
}, async () => {
  const git = await gitCorpus();
  const ours = await askedOf(openStore(git.url), [git.root]);
  assert.deepEqual(ours, await theirWords(git, [git.root]));
  assert.deepEqual(Object.keys(ours).sort(), git.paths);
  const infos = Object.entries(ours) as [string, { references: string[]; deriver: unknown }][];
  assert.ok(infos.some(([path, { references }]) => references.includes(path)));
  assert.ok(infos.every(([path, { deriver }]) => deriver === `${path}.drv`));
});

/** A store with a content address of each kind, two signatures on some, and references. */
async function madeBy(age: (typeof ages)[number]): Promise<[ClientStore, readonly string[]]> {
  const store = freshStore();
  const client = await nix(age);
  const files = scratch();
  mkdirSync(join(files, 'tree'));
  writeFileSync(join(files, 'tree/file'), 'content');
  writeFileSync(join(files, 'flat'), 'content');
  const run = async (program: string, ...args: string[]): Promise<string> =>
    (await client.check(program, args, { store })).trim();
  const drv = `derivation { name = "built"; system = "none"; builder = builtins.toFile "sh" "x"; }`;
  const roots = [
    await run('nix-store', '--add', join(files, 'tree')),
    await run('nix-store', '--add-fixed', 'sha256', join(files, 'flat')),
    await run('nix-store', '--add-fixed', '--recursive', 'sha1', join(files, 'flat')),
    await run('nix-instantiate', '-E', drv),
  ];
  for (const key of ['one-1', 'two-1']) {
    const [secret, open] = [join(files, key), join(files, `${key}.pub`)];
    await run('nix-store', '--generate-binary-cache-key', key, secret, open);
    await run('nix', 'store', 'sign', '--key-file', secret, roots[0]!, roots[2]!);
  }
  return [store, roots];
}

for (const age of ages)
  test(`content addresses, signatures and references are Nix's in a store of the ${age}`, {
    skip,
  }, async () => {
    const [store, roots] = await madeBy(age);
    const ours = await askedOf(openStore(store.url), roots);
    assert.deepEqual(ours, await theirWords(store, roots));
    const infos = roots.map(root => ours[root] as Told);
    assert.deepEqual(
      infos.map(({ ca }) => /^.*(?=:)/.exec(ca as string)?.[0]),
      ['fixed:r:sha256', 'fixed:sha256', 'fixed:r:sha1', 'text:sha256'],
    );
    const counts = (field: string) => infos.map(info => (info[field] as string[]).length);
    assert.deepEqual(counts('signatures'), [2, 0, 2, 0]);
    assert.deepEqual(counts('references'), [0, 0, 0, 1]);
  });

const [a, b, c] = ['a', 'b', 'c'].map((char, at) => `/nix/store/${char.repeat(32)}-p${at}`) as [
  string,
  string,
  string,
];
const hex = parseHash(`sha256:${'ab'.repeat(32)}`);
const row = { path: a, hash: `sha256:${'ab'.repeat(32)}` };

/** A store with just these rows; `references` are of the first to the others, by number from 1. */
function storeOf(rows: readonly Row[], references: readonly number[] = []): Store {
  const state = temporaryFolder();
  makeDatabase(state, rows, references);
  const storeDir = parseStoreDir('/nix/store');
  return localStore({ storeDir, real: join(state, 'ő'), state });
}

const named = (text: string, store: Store) => parseStorePath(text, store.storeDir);

test('a row with nothing but its hash is a path info without size, deriver and the rest', async () => {
  const store = storeOf([row]);
  const info = { path: a, narHash: hex, narSize: 0, references: [], signatures: [] };
  assert.deepEqual(await store.info(named(a, store)), info);
  assert.deepEqual(await store.byHashPart('a'.repeat(32)), info);
});

test('what the store lacks is left out, by each way to ask', async () => {
  const store = storeOf([row, { ...row, path: c }]);
  assert.equal(await store.info(named(b, store)), undefined);
  assert.equal(await store.byHashPart('b'.repeat(32)), undefined, 'though a greater one is there');
  assert.equal(await store.byHashPart('d'.repeat(32)), undefined);
  const closure = await store.closure!([named(b, store), named(a, store)]);
  assert.deepEqual([...closure.keys()], [a]);
});

test('references come in the order of their names, whatever that of their rows', async () => {
  const rows = [b, c, a].map(path => ({ ...row, path }));
  const store = storeOf(rows, [2, 1, 3]);
  const info = await store.info(named(b, store));
  assert.deepEqual(info?.references, [a, b, c]);
  const closure = await store.closure!([named(b, store)]);
  assert.deepEqual(closure.get(named(b, store)), info);
  assert.equal(closure.size, 3);
});

test('a closure of more roots than SQL has parameters is one question', async () => {
  const digit = '0123456789abcdfghijklmnpqrsvwxyz';
  const rows = Array.from({ length: 40_000 }, (_, at) => {
    const part = [...at.toString(32).padStart(32, '0')].map(
      char => digit[Number.parseInt(char, 32)],
    );
    return { ...row, path: `/nix/store/${part.join('')}-p` };
  });
  const state = storeOf(rows);
  const closure = await state.closure!(rows.map(({ path }) => named(path, state)));
  assert.equal(closure.size, rows.length);
});

for (const [what, wrong] of Object.entries({
  'a hash that is none': { hash: 'sha256:zz' },
  'no hash': { hash: '' },
  'a deriver that is no store path': { deriver: '/tmp/x.drv' },
  'a signature that is none': { sigs: 'cache.nixos.org-1' },
  'a content address that is none': { ca: 'fixed:sha256' },
}))
  test(`a row with ${what} is malformed, with its path and the database`, async () => {
    const store = storeOf([{ ...row, ...wrong }]);
    const refused = {
      name: 'GranaryError',
      code: 'malformed',
      message: new RegExp(`Nix database says of ${a}: `),
    };
    await assert.rejects(store.info(named(a, store)), refused);
    await assert.rejects(store.closure!([named(a, store)]), refused);
  });

test('a reference to a row that is not there is corrupt, and not left out', async () => {
  const store = storeOf([row], [7]);
  const refused = { name: 'GranaryError', code: 'corrupt', message: new RegExp(a) };
  await assert.rejects(store.info(named(a, store)), refused);
  await assert.rejects(store.closure!([named(a, store)]), refused);
});

test('a path that is of another store directory is malformed', async () => {
  const store = storeOf([row, { ...row, path: `/gnu/store/${'b'.repeat(32)}-p` }], [2]);
  await assert.rejects(store.closure!([named(a, store)]), { code: 'malformed' });
});

test('trees lie in the real directory, in latin-1, and file names lead back from both', () => {
  const store = storeOf([row]);
  const { tree } = store.content(named(a, store)) as { tree: string };
  const file = Buffer.from(tree, 'latin1').toString();
  assert.ok(file.endsWith(`/ő/${a.slice(11)}`), file);
  assert.deepEqual([store.pathOf(`${file}/bin`), store.pathOf(`${a}/bin`)], [a, a]);
  assert.equal(store.pathOf('/elsewhere'), undefined);
});

test('a store without a database is absent, whatever is asked', async () => {
  const state = temporaryFolder();
  const store = localStore({ storeDir: parseStoreDir('/nix/store'), real: '/nix/store', state });
  const gone = { code: 'absent', message: new RegExp(`${RegExp.escape(state)}/db/db.sqlite`) };
  await assert.rejects(store.info(named(a, store)), gone);
  await assert.rejects(store.byHashPart('a'.repeat(32)), gone);
  await assert.rejects(store.closure!([]), gone);
});
