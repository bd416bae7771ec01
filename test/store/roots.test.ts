import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { localStore } from '../../src/store/local.ts';
import { findRoot, resolveRoot } from '../../src/store/roots.ts';
import type { Store } from '../../src/store/store.ts';
import { temporaryFolder } from '../temporary.ts';

const name = '0123456789abcdfghijklmnpqrsvwxyz-foo';
const path = `${defaultStoreDir}/${name}`;

/** A chroot store below a folder, and links of all kinds that lead into it. */
function scene() {
  const folder = temporaryFolder();
  const real = join(folder, 'root/nix/store');
  mkdirSync(join(real, name, 'bin'), { recursive: true });
  writeFileSync(join(real, name, 'bin/foo'), '');
  mkdirSync(join(folder, 'links'));
  symlinkSync(path, join(folder, 'result'));
  symlinkSync('result', join(folder, 'again'));
  symlinkSync(join(real, name), join(folder, 'physical'));
  symlinkSync('links', join(folder, 'linked-folder'));
  symlinkSync('../result', join(folder, 'links/up'));
  symlinkSync('loop-b', join(folder, 'loop-a'));
  symlinkSync('loop-a', join(folder, 'loop-b'));
  symlinkSync('nowhere', join(folder, 'dangling'));
  symlinkSync('/etc', join(folder, 'etc'));
  const store = localStore({
    storeDir: defaultStoreDir,
    real,
    state: join(folder, 'root/nix/var/nix'),
    root: join(folder, 'root'),
  });
  return { folder, store, real };
}

for (const [what, text] of Object.entries({
  'a store path': () => path,
  'a store path with a slash behind it': () => `${path}/`,
  'a path inside a store path': () => `${path}/bin/foo`,
  'a real path of a chroot store': ({ real }: { real: string }) => join(real, name),
  'a file inside a real path': ({ real }: { real: string }) => join(real, name, 'bin/foo'),
  'a link, as nix-build leaves one': ({ folder }: { folder: string }) => join(folder, 'result'),
  'a link with a slash behind it': ({ folder }: { folder: string }) => `${folder}/result/`,
  'a file behind a link': ({ folder }: { folder: string }) => join(folder, 'result/bin/foo'),
  'a link to a link': ({ folder }: { folder: string }) => join(folder, 'again'),
  'a link to the real path': ({ folder }: { folder: string }) => join(folder, 'physical/bin'),
  'a link in a linked folder': ({ folder }: { folder: string }) => join(folder, 'linked-folder/up'),
} satisfies Record<string, (scene: { folder: string; real: string }) => string>))
  test(`a root can be ${what}`, () => {
    const made = scene();
    assert.equal(resolveRoot(text(made), made.store), path);
  });

test('a root can be relative', () => {
  const { folder, store } = scene();
  const before = process.cwd();
  process.chdir(folder);
  try {
    assert.equal(resolveRoot('./result', store), path);
    assert.equal(resolveRoot('links/up', store), path);
  } finally {
    process.chdir(before);
  }
});

for (const [what, text] of Object.entries({
  'a file outside of the store': '/etc/passwd',
  'nothing at all': '/no/such/thing',
  'the store directory itself': '/nix/store',
  'a name that is no store path': '/nix/store/foo',
  'a bad hash part': '/nix/store/0123456789abcdefghijklmnopqrstuv-foo',
  'an empty word': '',
}))
  test(`a root cannot be ${what}: usage, naming it and the store`, () => {
    const { store } = scene();
    assert.throws(
      () => resolveRoot(text, store),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'usage');
        assert.ok(error.message.includes(`"${text}"`) && error.message.includes(store.url));
        return true;
      },
    );
  });

for (const link of ['loop-a', 'dangling', 'etc'])
  test(`a link that leads nowhere useful (${link}) is no root`, () => {
    const { folder, store } = scene();
    assert.throws(() => resolveRoot(join(folder, link), store), { code: 'usage' });
  });

test('a flake reference is answered with the command that gives its path', () => {
  const { store } = scene();
  assert.throws(() => resolveRoot('nixpkgs#hello', store), {
    code: 'usage',
    message: /write "\$\(nix build --no-link --print-out-paths 'nixpkgs#hello'\)"/,
  });
});

test('a path is found by its base name and its hash part, if the store has it', async () => {
  const info = { path } as Awaited<ReturnType<Store['byHashPart']>>;
  const { store: made } = scene();
  const store: Store = {
    ...made,
    info: async asked => (asked === path ? info : undefined),
    byHashPart: async hash => (name.startsWith(hash) ? info : undefined),
  };
  for (const text of [name, name.slice(0, 32), path, `${path}/bin`])
    assert.equal(await findRoot(text, store), path);
  for (const text of [`${name}-dev`, '1'.repeat(32)])
    await assert.rejects(findRoot(text, store), {
      code: 'absent',
      message: `Cannot find ${text} in the store ${store.url}`,
    });
  for (const text of ['/etc/passwd', `${name}/bin`, `${name.slice(0, 33)}a name`])
    await assert.rejects(findRoot(text, store), { code: 'usage' });
});
