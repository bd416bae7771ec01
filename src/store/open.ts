/** From the name of a store to a Store, with the variables that Nix itself reads. */
import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { GranaryError } from '../errors.ts';
import { defaultStoreDir, parseStoreDir, type StoreDir } from '../format/store-path.ts';
import { type LocalPlaces, localStore } from './local.ts';
import type { Store } from './store.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Opens `auto`, `local` or `local?root=DIR` (also `store`, `state`, `real`).
 *
 * @throws GranaryError `usage` for a name that is no store
 */
export function openStore(name: string, env: Environment = process.env): Store {
  return localStore(placesOf(name, env));
}

/** Where the store's parts are, by its name and Nix's variables; nothing is opened. */
export function placesOf(name: string, env: Environment = process.env): LocalPlaces {
  if (name === 'auto') return automatic(env);
  const [scheme, query = ''] = name.split(/\?(.*)/s, 2) as [string, string?];
  if (scheme === 'local') return fromParameters(name, parametersOf(name, query), env);
  if (existsSync(join(name, 'nix/var/nix/db')))
    throw new GranaryError(
      'usage',
      `Cannot read "${name}" as a store by its bare path; write "local?root=${resolve(name)}"`,
    );
  if (/^(daemon|unix:|ssh:|ssh-ng:|https?:|s3:)/.test(name))
    throw new GranaryError(
      'usage',
      `Cannot read from "${name}" in this version; a store is "auto", "local" or "local?root=DIR"`,
    );
  throw new GranaryError(
    'usage',
    `Cannot read from "${name}": a store is "auto", "local" or "local?root=DIR"`,
  );
}

/** What Nix does without a --store: NIX_REMOTE, else the store of the machine, else the user's own. */
function automatic(env: Environment): LocalPlaces {
  const remote = env.NIX_REMOTE ?? '';
  if (remote.startsWith('local')) return placesOf(remote, env);
  if (/^\.?\//.test(remote)) return chroot(remote, env);
  if (!/^(auto|daemon|unix:.*|)$/.test(remote))
    throw new GranaryError(
      'usage',
      `Cannot read from NIX_REMOTE="${remote}" in this version; name a store on this machine by --from`,
    );
  const machine = fromParameters('local', new Map(), env);
  const moved = env.NIX_STORE_DIR || env.NIX_STORE || env.NIX_STATE_DIR;
  if (moved || existsSync(machine.state)) return machine;
  const home = env.XDG_DATA_HOME || join(env.HOME || homedir(), '.local/share');
  const own = join(env.NIX_DATA_HOME || join(home, 'nix'), 'root');
  return existsSync(join(own, 'nix/var/nix/db')) ? chroot(own, env) : machine;
}

const chroot = (root: string, env: Environment): LocalPlaces =>
  fromParameters(root, new Map([['root', root]]), env);

/** As Nix: a root has its own state and files, whatever variables say, but not its own storeDir. */
function fromParameters(name: string, given: Parameters, env: Environment): LocalPlaces {
  const storeDir = storeDirFrom(
    given.get('store') || env.NIX_STORE_DIR || env.NIX_STORE || defaultStoreDir,
  );
  const state = given.get('state');
  const real = given.get('real');
  if (!given.get('root'))
    return {
      storeDir,
      real: real ?? storeDir,
      state: state ?? (env.NIX_STATE_DIR || '/nix/var/nix'),
    };
  const root = resolve(given.get('root')!);
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new GranaryError('absent', `Cannot find the store "${name}": ${root} is no directory`);
  return {
    storeDir,
    real: real ?? join(root, 'nix/store'),
    state: state ?? join(root, 'nix/var/nix'),
    root,
  };
}

/** Nix makes it plain, as it does with all paths that it is given. */
const storeDirFrom = (text: string): StoreDir =>
  parseStoreDir(text.startsWith('/') ? resolve(text) : text);

type Parameters = ReadonlyMap<string, string>;

const known = new Set(['root', 'store', 'state', 'real']);

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
