/**
 * From what a person types to what a cache is asked for: a base name or hash part, a store path, a file inside one, a link
 * to one. A cache has no files to look at: its store directory alone says what leads into it.
 */
import { GranaryError } from '../errors.ts';
import { baseName, type StoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { fileInStore, pathWithin, refuseFlake } from '../store/roots.ts';

export interface CacheRoot {
  /** HASH or HASH-NAME. */
  readonly name: string;
  /** What is below it, as it was typed; empty for the path itself. */
  readonly place: string;
}

/** @throws GranaryError `usage` for what neither is nor leads to a path of the cache's store directory */
export function cacheRoot(word: string, storage: Storage, storeDir: StoreDir): CacheRoot {
  const bare = word.startsWith(`${storeDir}/`) ? word.slice(storeDir.length + 1) : word;
  const [, name, place = ''] =
    /^([0-9abcdfghijklmnpqrsvwxyz]{32}(?:-[^/]*)?)(?:\/(.*))?$/s.exec(bare) ?? [];
  if (name !== undefined) return { name, place };
  const pathOf = (file: string): StorePath | undefined => pathWithin(file, storeDir, storeDir);
  const file = fileInStore(word, each => pathOf(each) !== undefined);
  if (file !== undefined) {
    const path = pathOf(file)!;
    return { name: baseName(path), place: file.slice(path.length + 1) };
  }
  refuseFlake(word);
  throw new GranaryError(
    'usage',
    `Cannot find "${word}" in the cache ${storage.url}: it neither is nor leads to a store path in ${storeDir}, a base name or a hash part${listed(storage)}`,
  );
}

export const noRoot = (word: string, storage: Storage): GranaryError =>
  new GranaryError('absent', `Cannot find ${word} in the cache ${storage.url}${listed(storage)}`, {
    path: word,
  });

/** How one learns what a cache has, as the end of a sentence. */
const listed = (storage: Storage): string =>
  storage.list ? `; "granary info --all ${storage.url}" lists what it has` : '';
