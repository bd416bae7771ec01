/** What `--exclude` leaves out: the paths of a list, of a cache, or of a closure in a store. */
import { readFileSync, statSync } from 'node:fs';
import { GranaryError } from '../errors.ts';
import { closureOf } from '../flow/closure.ts';
import { type Exclusion, parsePathList } from '../flow/exclude.ts';
import type { Hash } from '../format/hash.ts';
import { defaultStoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { openStore } from '../store/open.ts';
import { resolveRoot } from '../store/roots.ts';
import { openCacheToRead } from './caches.ts';

/** A file is a list, what is a cache is that, and what leads to a path of the store means its closure there. */
export async function exclusionOf(names: readonly string[], store = 'auto'): Promise<Exclusion> {
  const caches: Storage[] = [];
  const paths = new Set<string>();
  const closures = new Map<StorePath, Hash>();
  for (const name of names) {
    if (statSync(name, { throwIfNoEntry: false })?.isFile()) {
      const text = readFileSync(name, 'latin1');
      for (const path of parsePathList(text, defaultStoreDir, name)) paths.add(path);
      continue;
    }
    try {
      caches.push(await openCacheToRead(name));
    } catch (noCache) {
      const closure = await closureNamed(name, store);
      if (!closure) throw noCache;
      for (const { path, narHash } of closure) closures.set(path, narHash);
    }
  }
  return { caches, paths, closures };
}

async function closureNamed(name: string, from: string) {
  const store = openStore(from);
  let root: StorePath;
  try {
    root = resolveRoot(name, store);
  } catch (error) {
    if (error instanceof GranaryError && error.code === 'usage') return undefined;
    throw error;
  }
  return closureOf([root], store);
}
