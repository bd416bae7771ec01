/** mkBinaryCache, built in the sandbox of real Nix and installed from. */
import assert from 'node:assert/strict';
import {
  cpSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { proofOf } from '../cache/proof.ts';
import { scratch } from '../clients/kept.ts';
import {
  ages,
  type ClientStore,
  freshStore,
  installs,
  nix,
  whyNoClients,
  whyNoReadOnlyMounts,
} from '../clients/nix.ts';
import { execute } from '../clients/process.ts';
import { repository } from '../granary.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());
const manual = '({ mkBinaryCache, hello }: mkBinaryCache { rootPaths = [ hello ]; })';

/** The project's sources, where the client may read them. */
function sources(): string {
  const dir = scratch();
  for (const part of ['src', 'nix', 'bin', 'package.json', 'package-lock.json'])
    cpSync(join(repository, part), join(dir, part), { recursive: true });
  cpSync(join(import.meta.dirname, 'packages.nix'), join(dir, 'packages.nix'));
  cpSync(process.execPath, join(dir, 'node/bin/node'));
  return dir;
}

/** Builds `callPackage FUNCTION { }`, sandboxed; gives the store path that came out. */
async function build(
  age: (typeof ages)[number],
  store: ClientStore,
  call: string,
): Promise<string> {
  const dir = sources();
  const file = join(dir, 'expression.nix');
  writeFileSync(
    file,
    `let packages = import ./packages.nix { nodeDir = ./node; overlay = ./nix/overlay.nix; };
     in with packages; { cache = callPackage ${call} { }; inherit hello; }`,
  );
  const client = await nix(age);
  const out = await client.check('nix-build', [file, '-A', 'cache', '--no-out-link'], {
    store,
    config: 'sandbox = true',
  });
  return out.trim();
}

for (const age of ['oldest', 'newest'] as const)
  test(`the manual's expression builds with the ${age} Nix, and every Nix installs from it`, {
    skip,
  }, async t => {
    const store = freshStore();
    const path = await build(age, store, manual);
    const cache = store.real(path);
    const { faults, narInfos } = await proofOf(cache);
    assert.deepEqual({ faults, narInfos }, { faults: [], narInfos: 3 });
    const texts = readdirSync(cache)
      .filter(name => name.endsWith('.narinfo'))
      .map(name => readFileSync(join(cache, name), 'latin1'));
    const pathOf = (name: string): string => {
      const text = texts.find(each => new RegExp(`^StorePath: .*-${name}$`, 'm').test(each));
      return /^StorePath: (.*)$/m.exec(text ?? '')?.[1] ?? `no ${name}`;
    };
    const addressed = texts.find(text => /^StorePath: .*-greeting$/m.test(text));
    assert.match(addressed ?? '', /^CA: text:sha256:/m);
    assert.ok(texts.every(text => !/^(Deriver|Sig):/m.test(text)));

    const references = await (await nix(age)).check('nix-store', ['-q', '--references', path], {
      store,
    });
    if (age === 'newest') assert.equal(references, '');
    else assert.match(references, /-hello\n/);

    for (const reader of ages) {
      const installed = await installs(await nix(reader), {
        cache: `file://${cache}`,
        path: pathOf('hello'),
      });
      const { stdout } = await execute(['sh', join(installed.real, 'bin/hello')]);
      assert.equal(stdout, 'Hello, world!\n');
      t.diagnostic(`${(await nix(reader)).version} installed it`);
    }
  });

const packageNix = readFileSync(join(repository, 'nix/package.nix'), 'utf8');

/** The packages, by package.nix' own script, run here: no build in the sandbox has a network. */
async function modules(): Promise<string> {
  const out = join(scratch(), 'granary-modules');
  const script = /installPhase = ''(.*?)''/s
    .exec(packageNix)![1]!
    .replaceAll(/\$\{\.\.\/(.*?)\}/g, (_, file) => `'${join(repository, file)}'`);
  const { code, stderr } = await execute(['bash', '-e', '-c', script], {
    cwd: scratch(),
    // The script makes TMPDIR npm's home; that of the machine knows its registry, and what it fetched.
    env: { ...process.env, out, TMPDIR: process.env.HOME, npm_config_prefer_offline: 'true' },
  });
  assert.equal(code, 0, stderr);
  return out;
}

test('the packages that package.nix wants have the hash that it states, and with them xz is made', {
  skip,
}, async () => {
  const fetched = await modules();
  const stated = /outputHash = "(.*)"/.exec(packageNix)?.[1];
  for (const age of ['oldest', 'newest'] as const) {
    const client = await nix(age);
    const store = freshStore();
    const hash = await client.check('nix', ['hash', 'path', fetched], { store });
    assert.equal(hash.trim(), stated);
    await client.check('nix-store', ['--add-fixed', '--recursive', 'sha256', fetched], { store });
    const path = await build(
      age,
      store,
      '({ mkBinaryCache, hello }: mkBinaryCache { rootPaths = [ hello ]; compression = "xz"; })',
    );
    const cache = store.real(path);
    assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 3 });
    const narinfo = readdirSync(cache).find(name => name.endsWith('.narinfo'))!;
    assert.match(readFileSync(join(cache, narinfo), 'utf8'), /^Compression: xz$/m);
  }
});

test('the program of package.nix runs', { skip }, async () => {
  const store = freshStore();
  const newest = await nix('newest');
  await newest.check('nix-store', ['--add-fixed', '--recursive', 'sha256', await modules()], {
    store,
  });
  const path = await build('newest', store, '({ granary }: granary)');
  const program = realpathSync(join(store.real(path), 'lib/granary/bin/granary.js'));
  assert.equal(
    readlinkSync(join(store.real(path), 'bin/granary')),
    '../lib/granary/bin/granary.js',
  );
  const { stdout } = await execute([process.execPath, program, '--version']);
  assert.match(stdout, /^granary \d/);
});

test('its arguments reach the cache', { skip }, async () => {
  const store = freshStore();
  const path = await build(
    'newest',
    store,
    `({ mkBinaryCache, hello, library }: mkBinaryCache {
       name = "my-cache"; rootPaths = [ hello library ]; compression = "gzip"; level = 9;
       listings = true; priority = 30; wantMassQuery = true; discardReferences = false; })`,
  );
  assert.match(path, /-my-cache$/);
  const cache = store.real(path);
  assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 3 });
  const info = readFileSync(join(cache, 'nix-cache-info'), 'utf8');
  assert.equal(info, 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n');
  const names = readdirSync(cache);
  assert.equal(names.filter(name => name.endsWith('.ls')).length, 3);
  const narinfo = names.find(name => name.endsWith('.narinfo'));
  assert.match(readFileSync(join(cache, narinfo!), 'utf8'), /^Compression: gzip$/m);
  const newest = await nix('newest');
  assert.match(
    await newest.check('nix-store', ['-q', '--references', path], { store }),
    /-hello\n/,
  );
});

for (const [what, call, why] of [
  [
    'an unknown argument',
    '({ mkBinaryCache, hello }: mkBinaryCache { rootPaths = [ hello ]; zip = 1; })',
    /unexpected argument '?zip'?/,
  ],
  [
    'an unknown compression',
    '({ mkBinaryCache, hello }: mkBinaryCache { rootPaths = [ hello ]; compression = "zstdd"; })',
    /compression takes one of zstd xz gzip br none, not "zstdd"/,
  ],
] as const)
  test(`${what} fails with a sentence`, { skip }, async () => {
    await assert.rejects(build('newest', freshStore(), call), (error: Error) => {
      assert.match(error.message, why);
      return true;
    });
  });
