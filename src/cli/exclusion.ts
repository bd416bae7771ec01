/** What `--exclude` leaves out (the paths of a list, of a cache, or of a closure in a store), and what `--with` says closes the rest. */
import { readFileSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { withoutPassword } from '../bytes.ts';
import { explained, GranaryError } from '../errors.ts';
import { closureOf } from '../flow/closure.ts';
import { type Exclusion, parsePathList } from '../flow/exclude.ts';
import type { Hash } from '../format/hash.ts';
import type { PathInfo } from '../format/path-info.ts';
import { defaultStoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { openStore } from '../store/open.ts';
import { resolveRoot } from '../store/roots.ts';
import type { Arguments } from './arguments.ts';
import { openCacheToRead } from './caches.ts';
import { kindOf } from './ends.ts';

/** With how each is remembered by what is closed by it: never by a password. */
export interface NamedExclusion extends Exclusion {
  readonly names: readonly string[];
}

/** A file is a list, what is a cache is that, and what leads to a path of the store means its closure there. `--with` names caches. */
export async function exclusionOf(args: Arguments, store = 'auto'): Promise<NamedExclusion> {
  const caches: Storage[] = [];
  const paths = new Set<string>();
  const closures = new Map<StorePath, Hash>();
  const names: string[] = [];
  for (const name of args.all('exclude')) {
    if (kindOf(name) === 'store')
      throw new GranaryError(
        'usage',
        `Cannot leave out all of the store "${withoutPassword(name)}": name a path in it, such as /run/current-system, or a cache, or a list of paths`,
      );
    const list = isFile(name) ? listIn(name, store) : undefined;
    if (list) {
      for (const path of list) paths.add(path);
      names.push(basename(name));
      continue;
    }
    let closure: readonly PathInfo[] | undefined;
    try {
      const cache = await openCacheToRead(name);
      caches.push(cache);
      names.push(cache.url);
      continue;
    } catch (noCache) {
      closure = await closureNamed(name, store);
      if (!closure) throw noCache;
    }
    for (const { path, narHash } of closure) closures.set(path, narHash);
    names.push(name);
  }
  const closers: Storage[] = [];
  for (const name of args.all('with')) closers.push(await openCacheToRead(name));
  names.push(...closers.map(({ url }) => url));
  return { caches, paths, closures, closers, names };
}

const isFile = (name: string): boolean =>
  !/^[a-z][a-z0-9+.-]*:\/\//i.test(name) &&
  explained(`look for ${name}`, () => statSync(name, { throwIfNoEntry: false }))?.isFile() === true;

/** Undefined for a file that lists nothing but is a path of the store, such as a script. */
function listIn(file: string, store: string): ReadonlySet<string> | undefined {
  const text = explained(`read the list ${file}`, () => readFileSync(file, 'latin1'));
  const isOfStore = (): boolean => rootNamed(file, store) !== undefined;
  let list: ReadonlySet<string>;
  try {
    list = parsePathList(text, defaultStoreDir, file);
  } catch (noList) {
    if (isOfStore()) return undefined;
    throw noList;
  }
  return list.size === 0 && isOfStore() ? undefined : list;
}

async function closureNamed(name: string, store: string): Promise<readonly PathInfo[] | undefined> {
  const root = rootNamed(name, store);
  return root && closureOf([root], openStore(store));
}

function rootNamed(name: string, store: string): StorePath | undefined {
  try {
    return resolveRoot(name, openStore(store));
  } catch (error) {
    if (error instanceof GranaryError && error.code === 'usage') return undefined;
    throw error;
  }
}
