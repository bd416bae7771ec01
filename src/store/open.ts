/** From the name of a store to a Store, with the variables that Nix itself reads. */
import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { GranaryError } from '../errors.ts';
import { parseStoreDir } from '../format/store-path.ts';
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
  if (scheme === 'local') return fromParameters(name, query, env);
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
  if (remote.startsWith('/')) return chroot(remote);
  if (remote.startsWith('local')) return placesOf(remote, env);
  const machine = fromParameters('local', '', env);
  const moved = env.NIX_STORE_DIR ?? env.NIX_STORE ?? env.NIX_STATE_DIR;
  if (moved !== undefined || existsSync(machine.state)) return machine;
  const own = join(env.XDG_DATA_HOME ?? join(env.HOME ?? homedir(), '.local/share'), 'nix/root');
  return existsSync(join(own, 'nix/var/nix/db')) ? chroot(own) : machine;
}

const chroot = (root: string): LocalPlaces => ({
  storeDir: parseStoreDir('/nix/store'),
  real: join(root, 'nix/store'),
  state: join(root, 'nix/var/nix'),
  root,
});

function fromParameters(name: string, query: string, env: Environment): LocalPlaces {
  const parameters = parametersOf(name, query);
  const root = parameters.get('root');
  const storeDir = parseStoreDir(
    parameters.get('store') ?? env.NIX_STORE_DIR ?? env.NIX_STORE ?? '/nix/store',
  );
  const absolute = root === undefined ? undefined : resolve(root);
  const state =
    parameters.get('state') ??
    (absolute === undefined
      ? (env.NIX_STATE_DIR ?? '/nix/var/nix')
      : join(absolute, 'nix/var/nix'));
  const real =
    parameters.get('real') ?? (absolute === undefined ? storeDir : join(absolute, 'nix/store'));
  if (absolute !== undefined && !statSync(absolute, { throwIfNoEntry: false })?.isDirectory())
    throw new GranaryError(
      'absent',
      `Cannot find the store "${name}": ${absolute} is no directory`,
    );
  return { storeDir, real, state, ...(absolute === undefined ? {} : { root: absolute }) };
}

const known = new Set(['root', 'store', 'state', 'real']);

function parametersOf(name: string, query: string): ReadonlyMap<string, string> {
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
