/** From the name of a store to a Store, with the variables that Nix itself reads. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { withoutPassword } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { defaultStoreDir, parseStoreDir, type StoreDir } from '../format/store-path.ts';
import { daemonStore } from './daemon.ts';
import { type LocalPlaces, localStore } from './local.ts';
import { sshStore } from './ssh.ts';
import { parseSshUrl, type SshPlace } from './ssh-place.ts';
import type { Store, WritableStore } from './store.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where a store's parts are, and who is asked about it. */
export interface StorePlaces extends LocalPlaces {
  /** The socket of the daemon that is asked; without one, the database is read. */
  readonly socket?: string;
  /** The machine that is asked instead. */
  readonly ssh?: SshPlace;
}

/**
 * Opens `auto`, `local`, `local?root=DIR` (also `store`, `state`, `real`), `daemon`, `unix://SOCKET` or `ssh://HOST`.
 *
 * @throws GranaryError `usage` for a name that is no store
 */
export function openStore(name: string, env: Environment = process.env): Store {
  const { socket, ssh, ...places } = placesOf(name, env);
  if (ssh) return sshStore(ssh);
  return socket === undefined ? localStore(places) : daemonStore(places, socket);
}

/**
 * Opens a store that somebody writes for us: nothing of ours ever writes into Nix's database or store directory. `auto`
 * is the daemon's, if there is one.
 *
 * @throws GranaryError `usage` for a store without a daemon
 */
export function openStoreToWrite(name: string, env: Environment = process.env): WritableStore {
  const { socket, ssh, ...places } = placesOf(name, env);
  if (ssh) return sshStore(ssh);
  if (socket !== undefined) return daemonStore(places, socket);
  if (name === 'auto' && places.root === undefined) {
    const daemon = placesOf('daemon', env) as StorePlaces & { readonly socket: string };
    if (existsSync(daemon.socket)) return daemonStore(places, daemon.socket);
  }
  const store = name === 'auto' ? localStore(places).url : name;
  const remote = name === 'auto' && places.root === undefined ? '' : `NIX_REMOTE="${store}" `;
  throw new GranaryError(
    'usage',
    `Cannot write into the store ${store}: only Nix itself does that, by its daemon; start one with 'NIX_DAEMON_SOCKET_PATH=/tmp/nix-socket ${remote}nix-daemon', and name it by "--to unix:///tmp/nix-socket"`,
  );
}

/** Where the store's parts are, by its name and Nix's variables; nothing is opened. */
export function placesOf(name: string, env: Environment = process.env): StorePlaces {
  if (name === 'auto') return automatic(env);
  const [scheme, query = ''] = name.split(/\?(.*)/s, 2) as [string, string?];
  if (scheme.startsWith('ssh://')) {
    const ssh = parseSshUrl(name);
    return { storeDir: ssh.storeDir, real: ssh.storeDir, state: '', ssh };
  }
  if (scheme === 'local') return fromParameters(name, parametersOf(name, query), env);
  if (scheme === 'daemon' || scheme.startsWith('unix:')) {
    const places = fromParameters(name, parametersOf(name, query), env);
    return { ...places, socket: socketOf(scheme, env) };
  }
  if (existsSync(join(name, 'nix/var/nix/db')))
    throw new GranaryError(
      'usage',
      `Cannot read "${name}" as a store by its bare path; write "local?root=${resolve(name)}"`,
    );
  const known =
    'a store is "auto", "local", "local?root=DIR", "daemon", "unix:///path/to/socket" or "ssh://host"';
  if (/^(ssh:|ssh-ng:|https?:|s3:)/.test(name))
    throw new GranaryError(
      'usage',
      `Cannot read from "${withoutPassword(name)}" in this version; ${known}`,
    );
  throw new GranaryError('usage', `Cannot read from "${withoutPassword(name)}": ${known}`);
}

/** The socket that `daemon` or `unix://SOCKET` means. */
function socketOf(scheme: string, env: Environment): string {
  const usual =
    env.NIX_DAEMON_SOCKET_PATH || join(env.NIX_STATE_DIR || '/nix/var/nix', 'daemon-socket/socket');
  if (scheme === 'daemon' || scheme === 'unix://') return usual;
  const file = decode(scheme.slice('unix://'.length));
  if (scheme.startsWith('unix:///')) return file;
  throw new GranaryError(
    'usage',
    `Cannot read from "${scheme}": the socket has to be an absolute path, as in unix:///path/to/socket`,
  );
}

/**
 * What Nix does without a --store: NIX_REMOTE, else the store of the machine, else the user's own. Who
 * may read the machine's database does, unless NIX_REMOTE says `daemon`: it is faster, and needs no daemon to run.
 */
function automatic(env: Environment): StorePlaces {
  const remote = env.NIX_REMOTE ?? '';
  if (/^(local|unix:|ssh:|daemon\?)/.test(remote)) return placesOf(remote, env);
  if (/^\.?\//.test(remote)) return chroot(remote, env);
  if (!/^(auto|daemon|)$/.test(remote))
    throw new GranaryError(
      'usage',
      `Cannot read from NIX_REMOTE="${withoutPassword(remote)}" in this version; name a store on this machine by --from`,
    );
  const machine = fromParameters('local', new Map(), env);
  const daemon = placesOf('daemon', env) as StorePlaces & { readonly socket: string };
  const asked = remote === 'daemon' || !isReadable(join(machine.state, 'db/db.sqlite'));
  if (asked && existsSync(daemon.socket)) return daemon;
  const moved = env.NIX_STORE_DIR || env.NIX_STORE || env.NIX_STATE_DIR;
  if (moved || existsSync(machine.state)) return machine;
  const home = env.XDG_DATA_HOME || join(env.HOME || homedir(), '.local/share');
  const own = join(env.NIX_DATA_HOME || join(home, 'nix'), 'root');
  return existsSync(join(own, 'nix/var/nix/db')) ? chroot(own, env) : machine;
}

function isReadable(database: string): boolean {
  try {
    accessSync(database, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

const chroot = (root: string, env: Environment): StorePlaces =>
  fromParameters(root, new Map([['root', root]]), env);

/** As Nix: a root has its own state and files, whatever variables say, but not its own storeDir. */
function fromParameters(name: string, given: Parameters, env: Environment): LocalPlaces {
  const storeDir = storeDirFrom(
    given.get('store') || env.NIX_STORE_DIR || env.NIX_STORE || defaultStoreDir,
  );
  const state = given.get('state');
  const real = given.get('real');
  const log = given.get('log');
  if (!given.get('root'))
    return {
      storeDir,
      real: real ?? storeDir,
      state: state ?? (env.NIX_STATE_DIR || '/nix/var/nix'),
      log: log ?? (env.NIX_LOG_DIR || '/nix/var/log/nix'),
    };
  const root = resolve(given.get('root')!);
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new GranaryError('absent', `Cannot find the store "${name}": ${root} is no directory`);
  return {
    storeDir,
    real: real ?? join(root, 'nix/store'),
    state: state ?? join(root, 'nix/var/nix'),
    log: log ?? join(root, 'nix/var/log/nix'),
    root,
  };
}

/** Nix makes it plain, as it does with all paths that it is given. */
const storeDirFrom = (text: string): StoreDir =>
  parseStoreDir(text.startsWith('/') ? resolve(text) : text);

type Parameters = ReadonlyMap<string, string>;

const known = new Set(['root', 'store', 'state', 'real', 'log']);

function parametersOf(name: string, query: string): Parameters {
  const parameters = new Map<string, string>();
  for (const part of query.split('&').filter(Boolean)) {
    const [key = '', value = ''] = part.split(/=(.*)/s, 2).map(decode);
    if (!known.has(key))
      throw new GranaryError(
        'usage',
        `Cannot read from "${name}": it has an unknown parameter "${key}"; known are ${[...known].join(', ')}`,
      );
    parameters.set(key, value);
  }
  return parameters;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
