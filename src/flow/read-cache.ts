/** The narinfos of a cache, wherever it lies: of some closures, by their references, or all that can be listed. */
import { narInfoAt } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import { baseName, hashPart, type StoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { type Broken, brokenError } from './broken.ts';
import { cacheRoot, noRoot } from './cache-root.ts';
import { each } from './each.ts';

/** Requests at once, where each is a way to go; what is near is read by synchronous calls. */
export const readsAtOnce = (storage: Storage): number => (storage.isFar ? 25 : 1);

export interface ReadWish {
  /** What names paths of the cache, as `cacheRoot` reads it; without it, everything. */
  readonly roots?: readonly string[] | undefined;
  /** Roots that the cache lacks are no error. */
  readonly lenient?: boolean;
  /** Not what the roots refer to. */
  readonly alone?: boolean;
  /** Narinfos that cannot be used are given back, unless they are those of roots, or all. */
  readonly partly?: boolean;
  /** Those for which it holds are passed over, with what only they refer to. */
  readonly leaveOut?: (info: NarInfo) => Promise<boolean>;
}

export interface ReadCache {
  readonly infos: ReadonlyMap<StorePath, NarInfo>;
  /** Those that were named. */
  readonly roots: readonly StorePath[];
  /** The names that were found. */
  readonly found: ReadonlySet<string>;
  /** None but where these are wished for. */
  readonly broken: Broken;
}

/**
 * References that the cache lacks are left out.
 *
 * @throws GranaryError `absent` for a root that the cache lacks, `usage` for what is none, `malformed` naming all narinfos that
 * cannot be read or are not in their place, `usage` for a cache that cannot be listed and no roots
 */
export async function readNarInfos(
  storage: Storage,
  storeDir: StoreDir,
  { roots: names, lenient = false, alone = false, partly = false, leaveOut }: ReadWish,
): Promise<ReadCache> {
  const infos = new Map<StorePath, NarInfo>();
  const roots: StorePath[] = [];
  const found = new Set<string>();
  const seen = new Set<string>();
  const broken = new Map<string, GranaryError>();
  let isAnyRead = false;
  const take = async (key: string, isRoot: boolean): Promise<readonly StorePath[]> => {
    const info = await placedNarInfo(storage, key, storeDir).catch(error => {
      if (!(error instanceof GranaryError && error.code === 'malformed')) throw error;
      broken.set(key, error);
    });
    if (!info) return [];
    isAnyRead = true;
    if (isRoot) roots.push(info.path);
    if (await leaveOut?.(info)) return [];
    infos.set(info.path, info);
    return alone ? [] : info.references;
  };
  const named = names?.map(word => cacheRoot(word, storage, storeDir).name);
  const keys = named?.map(name => `${name.slice(0, 32)}.narinfo`);
  let level = new Set(keys ?? (await narInfoKeysIn(storage)));
  for (let isFirst = true; level.size > 0; isFirst = false) {
    const fresh = [...level].filter(key => !seen.has(key));
    for (const key of fresh) seen.add(key);
    const next = new Set<string>();
    await each(fresh, readsAtOnce(storage), async key => {
      const references = await take(key, isFirst && names !== undefined);
      if (names) for (const reference of references) next.add(narInfoKey(reference));
    });
    if (isFirst && names) {
      if (broken.size > 0) throw brokenError(broken, storage.url);
      const known = new Set(roots.flatMap(path => [baseName(path), hashPart(path)]));
      for (const [at, name] of names.entries()) if (known.has(named![at]!)) found.add(name);
      const absent = names.find(name => !found.has(name));
      if (absent !== undefined && !lenient) throw noRoot(absent, storage);
    }
    level = next;
  }
  if (broken.size > 0 && !(partly && isAnyRead)) throw brokenError(broken, storage.url);
  return { infos, roots, found, broken };
}

async function narInfoKeysIn(storage: Storage): Promise<readonly string[]> {
  if (!storage.list)
    throw new GranaryError(
      'usage',
      `Cannot read all of ${storage.url}: what lies there cannot be listed; name ROOTs`,
    );
  const keys: string[] = [];
  for await (const { key } of storage.list('')) if (/^[^/]+\.narinfo$/.test(key)) keys.push(key);
  return keys.sort();
}

async function placedNarInfo(
  storage: Storage,
  key: string,
  storeDir: StoreDir,
): Promise<NarInfo | undefined> {
  const info = await narInfoAt(storage, key, storeDir);
  if (!info || narInfoKey(info.path) === key) return info;
  const message = `Cannot use ${key} of ${storage.url}: it is the narinfo of ${info.path}`;
  throw new GranaryError('malformed', message, { key });
}
