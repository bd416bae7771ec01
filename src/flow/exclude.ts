/** What is left out of a cache since others have it, and what else closes one. */
import { readNarInfo } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { Hash } from '../format/hash.ts';
import type { PathInfo } from '../format/path-info.ts';
import {
  baseName,
  parseBaseName,
  type StoreDir,
  type StorePath,
  storeDirOf,
} from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { readsAtOnce } from './read-cache.ts';

export interface Exclusion {
  /** Their paths are left out, if they have the same NAR. */
  readonly caches: readonly Storage[];
  /** Base names. */
  readonly paths: ReadonlySet<string>;
  /** What a store has: left out, if it is the same NAR. */
  readonly closures: ReadonlyMap<StorePath, Hash>;
  /** Caches of which nothing is left out, but that may have what is referred to. */
  readonly closers?: readonly Storage[];
}

export const nothingExcluded: Exclusion = { caches: [], paths: new Set(), closures: new Map() };

/** Whether a path is left out. */
export async function isExcluded(
  { path, narHash }: Pick<PathInfo, 'path' | 'narHash'>,
  { caches, paths, closures }: Exclusion,
): Promise<boolean> {
  if (paths.has(baseName(path)) || closures.get(path) === narHash) return true;
  for (const cache of caches) {
    const other = await readNarInfo(cache, path, storeDirOf(path));
    if (other?.path === path && other.narHash === narHash) return true;
  }
  return false;
}

/** Whether one of them has the path, with whatever NAR. */
export async function isElsewhere(
  path: StorePath,
  { caches, paths, closures, closers = [] }: Exclusion,
): Promise<boolean> {
  if (paths.has(baseName(path)) || closures.has(path)) return true;
  for (const cache of [...caches, ...closers])
    if ((await readNarInfo(cache, path, storeDirOf(path)))?.path === path) return true;
  return false;
}

/** Requests at once, of a plan that asks all of these. */
export const asksAtOnce = (target: Storage, { caches, closers = [] }: Exclusion): number =>
  Math.max(...[target, ...caches, ...closers].map(readsAtOnce));

/** The base names in a list of store paths, one a line; blank lines and such with # are passed over. */
export function parsePathList(text: string, storeDir: StoreDir, file: string): Set<string> {
  const names = new Set<string>();
  for (const [at, line] of text.split('\n').entries()) {
    const name = line.trim().replace(/^.*\//, '');
    if (name === '' || name.startsWith('#')) continue;
    try {
      names.add(baseName(parseBaseName(name, storeDir)));
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      throw new GranaryError(
        'malformed',
        `Cannot read line ${at + 1} of ${file} as a store path: ${error.message}`,
        { file, line: at + 1 },
      );
    }
  }
  return names;
}
