import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStore, placesOf } from '../../src/store/open.ts';
import { temporaryFolder } from '../temporary.ts';

const root = temporaryFolder();
mkdirSync(join(root, 'a b'));
const chroot = (at: string) => ({
  storeDir: '/nix/store',
  real: `${at}/nix/store`,
  state: `${at}/nix/var/nix`,
  root: at,
});
const machine = { storeDir: '/nix/store', real: '/nix/store', state: '/nix/var/nix' };

for (const [what, name, env, expected] of [
  ['auto: the store of the machine', 'auto', {}, machine],
  ['local', 'local', {}, machine],
  ['NIX_STORE_DIR', 'auto', { NIX_STORE_DIR: '/s' }, { ...machine, storeDir: '/s', real: '/s' }],
  [
    'NIX_STORE, which builds see',
    'auto',
    { NIX_STORE: '/s' },
    { ...machine, storeDir: '/s', real: '/s' },
  ],
  ['NIX_STATE_DIR', 'auto', { NIX_STATE_DIR: '/v' }, { ...machine, state: '/v' }],
  ['NIX_REMOTE with a path', 'auto', { NIX_REMOTE: root }, chroot(root)],
  ['NIX_REMOTE with a store', 'auto', { NIX_REMOTE: `local?root=${root}` }, chroot(root)],
  ['a root', `local?root=${root}`, {}, chroot(root)],
  ['a root, percent-encoded', `local?root=${root}/a%20b`, {}, chroot(`${root}/a b`)],
  [
    'every parameter',
    `local?root=${root}&store=/s&state=/v&real=/r`,
    {},
    { storeDir: '/s', real: '/r', state: '/v', root },
  ],
  [
    'parameters over variables',
    'local?store=/s',
    { NIX_STORE_DIR: '/t' },
    { ...machine, storeDir: '/s', real: '/s' },
  ],
] as const)
  test(`a store is found by ${what}`, () => {
    assert.deepEqual({ ...placesOf(name, env) }, expected);
  });

test("auto is the user's own store where the machine has none", () => {
  const data = temporaryFolder();
  mkdirSync(join(data, 'nix/root/nix/var/nix/db'), { recursive: true });
  const places = placesOf('auto', { XDG_DATA_HOME: data });
  // On a machine with a Nix of its own, that one comes first.
  assert.ok([join(data, 'nix/root'), undefined].includes(places.root));
});

for (const [what, name, code, message] of [
  [
    'a parameter that there is not',
    'local?rot=/x',
    'usage',
    /unknown parameter "rot"; known are root, store, state, real/,
  ],
  [
    'a root that is not there',
    'local?root=/no/such/root',
    'absent',
    /\/no\/such\/root is no directory/,
  ],
  ['a store directory that is relative', 'local?store=nix', 'malformed', /store directory/],
  ['what this version cannot read', 'ssh://host', 'usage', /in this version/],
  ['something else', 'wherever', 'usage', /a store is "auto"/],
] as const)
  test(`${what} is refused as ${code}`, () => {
    assert.throws(() => placesOf(name, {}), { name: 'GranaryError', code, message });
  });

test('a bare path to a chroot store is usage, and says how to write it', () => {
  const bare = temporaryFolder();
  mkdirSync(join(bare, 'nix/var/nix/db'), { recursive: true });
  assert.throws(() => openStore(bare, {}), {
    code: 'usage',
    message: new RegExp(`"local\\?root=${bare}"`),
  });
});
