import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { openStore, openStoreToWrite, placesOf } from '../../src/store/open.ts';
import { scratch } from '../clients/kept.ts';
import { ages, nix, whyNoClients } from '../clients/nix.ts';
import { temporaryFolder } from '../temporary.ts';

const root = temporaryFolder();
mkdirSync(join(root, 'a b'));
const chroot = (at: string) => ({
  storeDir: '/nix/store',
  real: `${at}/nix/store`,
  state: `${at}/nix/var/nix`,
  log: `${at}/nix/var/log/nix`,
  root: at,
});
const machine = {
  storeDir: '/nix/store',
  real: '/nix/store',
  state: '/nix/var/nix',
  log: '/nix/var/log/nix',
};
/** What stands for a socket, a state with a database, and one without. */
const socket = join(root, 'socket');
writeFileSync(socket, '');
mkdirSync(join(root, 'state/db'), { recursive: true });
writeFileSync(join(root, 'state/db/db.sqlite'), '');
const [known, unknown] = [join(root, 'state'), join(root, 'no-state')];
const usual = `${machine.state}/daemon-socket/socket`;

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
  ['NIX_LOG_DIR', 'auto', { NIX_LOG_DIR: '/l' }, { ...machine, log: '/l' }],
  [
    'NIX_STORE_DIR with a slash',
    'auto',
    { NIX_STORE_DIR: '/s/' },
    { ...machine, storeDir: '/s', real: '/s' },
  ],
  ['empty variables', 'auto', { NIX_STORE_DIR: '', NIX_STORE: '', NIX_STATE_DIR: '' }, machine],
  ['NIX_REMOTE with a path', 'auto', { NIX_REMOTE: root }, chroot(root)],
  [
    'NIX_REMOTE with a path, and NIX_STORE_DIR',
    'auto',
    { NIX_REMOTE: root, NIX_STORE_DIR: '/s' },
    { ...chroot(root), storeDir: '/s' },
  ],
  [
    'NIX_REMOTE that is the daemon',
    'auto',
    { NIX_REMOTE: 'daemon', NIX_STATE_DIR: known, NIX_DAEMON_SOCKET_PATH: socket },
    { ...machine, state: known, socket },
  ],
  [
    'NIX_REMOTE that is the daemon, which does not run',
    'auto',
    { NIX_REMOTE: 'daemon', NIX_STATE_DIR: known },
    { ...machine, state: known },
  ],
  [
    'NIX_REMOTE that is a socket',
    'auto',
    { NIX_REMOTE: 'unix:///s/socket', NIX_DAEMON_SOCKET_PATH: socket },
    { ...machine, socket: '/s/socket' },
  ],
  [
    'a database that may be read, though there is a daemon',
    'auto',
    { NIX_STATE_DIR: known, NIX_DAEMON_SOCKET_PATH: socket },
    { ...machine, state: known },
  ],
  [
    'the daemon, where no database can be read',
    'auto',
    { NIX_STATE_DIR: unknown, NIX_DAEMON_SOCKET_PATH: socket },
    { ...machine, state: unknown, socket },
  ],
  ['daemon', 'daemon', {}, { ...machine, socket: usual }],
  [
    'daemon and NIX_STATE_DIR',
    'daemon',
    { NIX_STATE_DIR: '/v' },
    { ...machine, state: '/v', socket: '/v/daemon-socket/socket' },
  ],
  [
    'daemon and NIX_DAEMON_SOCKET_PATH',
    'daemon',
    { NIX_STATE_DIR: '/v', NIX_DAEMON_SOCKET_PATH: '/s/socket' },
    { ...machine, state: '/v', socket: '/s/socket' },
  ],
  ['a daemon without a socket', 'unix://', {}, { ...machine, socket: usual }],
  ['a socket', 'unix:///s/socket', {}, { ...machine, socket: '/s/socket' }],
  ['a socket, percent-encoded', 'unix:///a%20b', {}, { ...machine, socket: '/a b' }],
  [
    'a socket and a store directory',
    'unix:///s/socket?store=/s',
    {},
    { ...machine, storeDir: '/s', real: '/s', socket: '/s/socket' },
  ],
  ['NIX_REMOTE with a store', 'auto', { NIX_REMOTE: `local?root=${root}` }, chroot(root)],
  ['a root', `local?root=${root}`, {}, chroot(root)],
  ['a root, percent-encoded', `local?root=${root}/a%20b`, {}, chroot(`${root}/a b`)],
  [
    'every parameter',
    `local?root=${root}&store=/s&state=/v&real=/r&log=/l`,
    {},
    { storeDir: '/s', real: '/r', state: '/v', log: '/l', root },
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

for (const [what, at, env] of [
  ['XDG_DATA_HOME', 'data/nix/root', { XDG_DATA_HOME: 'data' }],
  ['HOME', '.local/share/nix/root', { HOME: '.', XDG_DATA_HOME: '' }],
  ['NIX_DATA_HOME', 'own/root', { NIX_DATA_HOME: 'own', XDG_DATA_HOME: 'data' }],
] as const)
  test(`auto is the user's own store below ${what} where the machine has none`, () => {
    const home = temporaryFolder();
    mkdirSync(join(home, at, 'nix/var/nix/db'), { recursive: true });
    const absolute = Object.entries(env).map(([name, dir]) => [name, dir && join(home, dir)]);
    const places = placesOf('auto', Object.fromEntries(absolute));
    // On a machine with a Nix of its own, that one comes first.
    assert.deepEqual({ ...places }, existsSync('/nix/var/nix') ? machine : chroot(join(home, at)));
  });

for (const [what, name, code, message] of [
  [
    'a parameter that there is not',
    'local?rot=/x',
    'usage',
    /unknown parameter "rot"; known are root, store, state, real/,
  ],
  [
    'a parameter of a daemon that there is not',
    'daemon?rot=/x',
    'usage',
    /unknown parameter "rot"/,
  ],
  ['a socket that is relative', 'unix://socket', 'usage', /has to be an absolute path/],
  ['a socket without slashes', 'unix:/socket', 'usage', /has to be an absolute path/],
  [
    'a root that is not there',
    'local?root=/no/such/root',
    'absent',
    /\/no\/such\/root is no directory/,
  ],
  ['a store directory that is relative', 'local?store=nix', 'malformed', /store directory/],
  ['what this version cannot read', 'ssh-ng://host', 'usage', /in this version/],
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

for (const [what, name, env, expected] of [
  ['daemon', 'daemon', { NIX_DAEMON_SOCKET_PATH: socket }, socket],
  ['a socket', 'unix:///s/socket', {}, '/s/socket'],
  [
    'auto, which reads the database',
    'auto',
    { NIX_STATE_DIR: known, NIX_DAEMON_SOCKET_PATH: socket },
    socket,
  ],
  [
    'auto, which asks the daemon',
    'auto',
    { NIX_STATE_DIR: unknown, NIX_DAEMON_SOCKET_PATH: socket },
    socket,
  ],
  ['NIX_REMOTE', 'auto', { NIX_REMOTE: 'unix:///s/socket' }, '/s/socket'],
] as const)
  test(`a store to write into is found by ${what}`, () => {
    const store = openStoreToWrite(name, env);
    assert.equal(store.url, `unix://${expected}`);
    assert.equal(store.storeDir, '/nix/store');
  });

for (const [what, name, env, says] of [
  ['a chroot store', `local?root=${root}`, {}, `NIX_REMOTE="local?root=${root}" nix-daemon'`],
  [
    'NIX_REMOTE that is one',
    'auto',
    { NIX_REMOTE: root },
    `NIX_REMOTE="local?root=${root}" nix-daemon'`,
  ],
  ['local', 'local', { NIX_DAEMON_SOCKET_PATH: socket }, 'NIX_REMOTE="local" nix-daemon'],
  [
    'auto without a daemon',
    'auto',
    { NIX_DAEMON_SOCKET_PATH: '/no/such' },
    'NIX_DAEMON_SOCKET_PATH=/tmp/nix-socket nix-daemon',
  ],
] as const)
  test(`${what} is no store to write into, and the sentence says how to make it one`, () => {
    assert.throws(
      () => openStoreToWrite(name, env),
      (error: Error & { code: string }) =>
        error.code === 'usage' && error.message.includes(says) && /--to unix:/.test(error.message),
    );
  });

/** Ways to say where a store is, below `dir`. */
const ways = (dir: string): Readonly<Record<string, NodeJS.ProcessEnv>> => ({
  'a path': { NIX_REMOTE: `${dir}/c` },
  'a path from here': { NIX_REMOTE: './c' },
  'a path, and variables': {
    NIX_REMOTE: `${dir}/c`,
    NIX_STORE_DIR: '/s',
    NIX_STATE_DIR: `${dir}/not`,
  },
  'a root': { NIX_REMOTE: `local?root=${dir}/c` },
  'a root, percent-encoded': { NIX_REMOTE: `local?root=${dir}/a%20b` },
  'a root, and variables': {
    NIX_REMOTE: `local?root=${dir}/c`,
    NIX_STORE_DIR: '/s',
    NIX_STATE_DIR: `${dir}/not`,
  },
  'a root and a store directory': { NIX_REMOTE: `local?root=${dir}/c&store=/s` },
  'a root and where the files are': { NIX_REMOTE: `local?root=${dir}/c&real=${dir}/real` },
  'a root and where the state is': { NIX_REMOTE: `local?root=${dir}/c&state=${dir}/state` },
  'all but a root': { NIX_REMOTE: `local?store=/s&state=${dir}/state&real=${dir}/real` },
  variables: { NIX_STORE_DIR: `${dir}/s`, NIX_STATE_DIR: `${dir}/state` },
  'variables with slashes': { NIX_STORE_DIR: `${dir}/s/`, NIX_STATE_DIR: `${dir}/state/` },
  'the variables of builds': { NIX_STORE: `${dir}/s`, NIX_STATE_DIR: `${dir}/state` },
  'local, and variables': {
    NIX_REMOTE: 'local',
    NIX_STORE_DIR: `${dir}/s`,
    NIX_STATE_DIR: `${dir}/state`,
  },
});

const skip = await whyNoClients();
for (const age of ages)
  test(`wherever the ${age} Nix puts a path, auto finds it`, { skip }, async () => {
    const client = await nix(age);
    for (const what of Object.keys(ways(''))) {
      const dir = scratch();
      for (const name of ['c', 'a b']) {
        mkdirSync(join(dir, name));
        chmodSync(join(dir, name), 0o777);
      }
      writeFileSync(join(dir, 'file'), '');
      const env = { NIX_REMOTE: undefined, NIX_STATE_DIR: undefined, ...ways(dir)[what] };
      const added = await client.check('nix-store', ['--add', join(dir, 'file')], {
        env,
        cwd: dir,
      });
      const here = process.cwd();
      process.chdir(dir);
      try {
        const store = openStore('auto', env);
        const path = store.pathOf(added.trim());
        assert.ok(path, what);
        assert.equal((await store.info(path))?.narSize, 112, what);
        assert.ok(existsSync(join(placesOf('auto', env).real, basename(path))), what);
      } finally {
        process.chdir(here);
      }
    }
  });
