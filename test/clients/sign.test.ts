/** Keys and signatures, with real Nix on the other side. */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { contentOf } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { manyPaths } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());

/** A tree with a path that has no content address: only a signature can make Nix believe it. */
async function unaddressed(): Promise<{ url: string; root: string }> {
  const store = freshStore();
  const oldest = await nix('oldest');
  const text = `derivation { name = "signed"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo content > $out" ]; }`;
  const file = join(scratch(), 'signed.nix');
  writeFileSync(file, text);
  const root = await oldest.check('nix-build', [file, '--no-out-link'], {
    store,
    config: 'sandbox = true',
  });
  return { url: store.url, root: root.trim() };
}

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const believing = (key: string) => [
  '--option',
  'require-sigs',
  'true',
  '--option',
  'trusted-public-keys',
  key,
];

/** Installs with signatures required; what it says when it refuses. */
async function refusal(
  age: (typeof ages)[number],
  cache: string,
  path: string,
  key: string,
): Promise<string | undefined> {
  try {
    await installs(await nix(age), { cache: `file://${cache}`, path, options: believing(key) });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

test('what our key signed, by make or by sign, every Nix believes; and not after a covered byte changed', {
  skip,
}, async () => {
  const { url, root } = await unaddressed();
  const folder = scratch();
  const key = join(folder, 'key');
  await run('key', 'generate', 'granary-test-1', '--out', key);
  const trusted = readFileSync(`${key}.pub`, 'utf8');
  const [made, signed] = [join(folder, 'made'), join(folder, 'signed')];
  await run('make', '--to', made, '--from', url, '--sign', key, root);
  await run('make', '--to', signed, '--from', url, root);
  for (const age of ages)
    assert.match(
      (await refusal(age, signed, root, trusted)) ?? '',
      /signature|trusted/,
      'unsigned',
    );
  await run('sign', '--sign', key, signed);
  assert.deepEqual(contentOf(signed), contentOf(made));
  for (const age of ages) assert.equal(await refusal(age, signed, root, trusted), undefined);

  const [narinfo] = readdirSync(signed).filter(name => name.endsWith('.narinfo'));
  const file = join(signed, narinfo!);
  const text = readFileSync(file, 'utf8');
  for (const [what, changed] of Object.entries({
    NarSize: text.replace(/^NarSize: (.*)$/m, (_, size) => `NarSize: ${Number(size) + 1}`),
    References: text.replace(/^References: $/m, `References: ${root.slice(11)}`),
    Sig: text.replace(
      /^(Sig: [^:]*:)(.)/m,
      (_, start, first) => start + (first === 'A' ? 'B' : 'A'),
    ),
  })) {
    assert.notEqual(changed, text);
    writeFileSync(file, changed);
    for (const age of ages)
      assert.ok(await refusal(age, signed, root, trusted), `${age} believed another ${what}`);
  }
  writeFileSync(file, text.replace(/^Deriver: .*\n/m, ''));
  for (const age of ages)
    assert.equal(await refusal(age, signed, root, trusted), undefined, 'Deriver is not covered');
});

test('keys that Nix made sign here, and the public halves agree', { skip }, async () => {
  const { url, root } = await unaddressed();
  for (const age of ages) {
    const folder = scratch();
    const client = await nix(age);
    await client.check('nix-store', [
      '--generate-binary-cache-key',
      `nix-${age}-1`,
      join(folder, 'key'),
      join(folder, 'key.pub'),
    ]);
    chmodSync(join(folder, 'key'), 0o644);
    const trusted = readFileSync(join(folder, 'key.pub'), 'utf8');
    assert.equal((await run('key', 'public', join(folder, 'key'))).trim(), trusted.trim());
    const ours = join(folder, 'ours');
    await run('key', 'generate', 'ours-1', '--out', ours);
    const converted = await client.check('nix', ['key', 'convert-secret-to-public'], {
      input: readFileSync(ours),
    });
    assert.equal(converted.trim(), readFileSync(`${ours}.pub`, 'utf8'));
    const cache = join(folder, 'cache');
    await run('make', '--to', cache, '--from', url, '--sign', join(folder, 'key'), root);
    assert.equal(await refusal(age, cache, root, trusted), undefined);
  }
});

test('rotation over a cache: the new key alone is believed, all else stays as it was, again changes nothing', {
  skip,
}, async () => {
  const { url, root } = await manyPaths(100);
  const folder = scratch();
  const cache = join(folder, 'cache');
  const [old, fresh] = [join(folder, 'old'), join(folder, 'fresh')];
  await run('key', 'generate', 'old-1', '--out', old);
  await run('key', 'generate', 'fresh-2', '--out', fresh);
  await run('make', '--to', cache, '--from', url, root);
  const unsigned = contentOf(cache);
  await run('sign', '--sign', old, cache);
  assert.match(
    await run('sign', '--sign', fresh, '--drop', 'old-1', cache),
    /101 paths changed, 0 already so/,
  );
  const pub = readFileSync(`${fresh}.pub`, 'utf8');
  await run('verify', '--trusted-key', pub, cache);
  const newest = await nix('newest');
  const url2 = `file://${cache}`;
  await newest.check('nix', [
    'store',
    'verify',
    '--store',
    url2,
    '--all',
    '--trusted-public-keys',
    pub,
  ]);
  assert.match(await run('sign', '--sign', fresh, cache), /0 paths changed, 101 already so/);
  await run('sign', '--drop', 'fresh-2', cache);
  assert.deepEqual(contentOf(cache), unsigned);
});

test('another key under the name of ours is a conflict, unless it is dropped', {
  skip,
}, async () => {
  const { url, root } = await manyPaths(100);
  const folder = scratch();
  const cache = join(folder, 'cache');
  await run('make', '--to', cache, '--from', url, root);
  for (const name of ['a', 'b'])
    await run('key', 'generate', 'same-1', '--out', join(folder, name));
  await run('sign', '--sign', join(folder, 'a'), cache);
  const before = contentOf(cache);
  const refused = await granary(['sign', '--sign', join(folder, 'b'), cache]);
  assert.deepEqual([refused.code, contentOf(cache)], [7, before]);
  assert.match(refused.stderr, /--drop same-1/);
  await run('sign', '--sign', join(folder, 'b'), '--drop', 'same-1', cache);
});

test('what is damaged is not signed, and the rest is; a cache in a Nix store is left alone', {
  skip,
}, async () => {
  const { url, root, paths } = await manyPaths(100);
  const folder = scratch();
  const cache = join(folder, 'cache');
  await run('make', '--to', cache, '--from', url, '--compression', 'none', root);
  await run('key', 'generate', 'k-1', '--out', join(folder, 'key'));
  const victim = paths.find(path => path !== root)!;
  const key = `${victim.slice(11, 43)}.narinfo`;
  const nar = /^URL: (.*)$/m.exec(readFileSync(join(cache, key), 'utf8'))![1]!;
  writeFileSync(join(cache, nar), 'other');
  const ran = await granary(['sign', '--sign', join(folder, 'key'), cache]);
  assert.equal(ran.code, 5, ran.stderr);
  assert.match(ran.stdout, new RegExp(`Not signed: ${victim}, which is damaged`));
  assert.match(ran.stdout, /100 paths changed, 0 already so, 1 refused/);
  assert.doesNotMatch(readFileSync(join(cache, key), 'utf8'), /^Sig:/m);

  const inStore = join(folder, 'nix/store', `${'1'.repeat(32)}-binary-cache`);
  mkdirSync(join(inStore, '..'), { recursive: true });
  cpSync(cache, inStore, { recursive: true });
  const refused = await granary(['sign', '--sign', join(folder, 'key'), inStore]);
  assert.equal(refused.code, 2);
  assert.match(
    refused.stderr,
    /lies in a Nix store.*granary copy --from .* --to .\/cache --sign FILE/,
  );
});
