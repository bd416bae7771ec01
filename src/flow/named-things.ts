/**
 * What lies in a cache that cannot be listed, as far as its narinfos name it: each file is asked for by its name.
 * What nothing names, nobody can see.
 */
import { cacheInfoKey, getNar, listingKey } from '../cache/cache.ts';
import type { BareInfo } from '../format/narinfo.ts';
import { isKey, type Storage, type Thing } from '../storage/storage.ts';
import { closedByKey } from './closed-by.ts';
import { each } from './each.ts';
import { type Finding, finding } from './findings.ts';
import { readsAtOnce } from './read-cache.ts';
import { isAway } from './verify-narinfo.ts';

/** The files of the cache itself. */
export async function frameThings(storage: Storage): Promise<Map<string, Thing>> {
  const things = new Map<string, Thing>();
  for (const key of [cacheInfoKey, closedByKey]) {
    const size = (await storage.head(key))?.size;
    if (size !== undefined) things.set(key, { key, kind: 'value', size });
  }
  return things;
}

/** Adds the NAR files and listings of these paths; what cannot be asked for is no value, and told. */
export async function addNamedThings(
  things: Map<string, Thing>,
  infos: ReadonlyMap<string, BareInfo>,
  storage: Storage,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const add = async (key: string, { path }: BareInfo, size: () => Promise<number | undefined>) => {
    try {
      const bytes = await size();
      if (bytes === undefined) things.delete(key);
      else things.set(key, { key, kind: 'value', size: bytes });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === undefined || (isOwn(key, storage) && isAway(storage, error))) throw error;
      things.set(key, { key, kind: 'other', size: 0 });
      findings.push(finding('unreadable', key, message, path));
    }
  };
  await each(infos.values(), readsAtOnce(storage), async info => {
    const { url, fileSize = 0 } = info.file;
    await add(url, info, () => sizeOf(url, storage, fileSize));
    const key = listingKey(info.path);
    await add(key, info, async () => (await storage.head(key))?.size);
  });
  return findings;
}

/** Whether a URL is a key as well. */
const isPlain = (url: string): boolean => isKey(url) && !/[?#%:]/.test(url);

/**
 * Whether a URL leads to the cache's own server. Another, which a narinfo names, is none of the cache: where that does not
 * answer, it is the narinfo's fault.
 */
export function isOwn(url: string, storage: Storage): boolean {
  if (!storage.follow) return true;
  const base = storage.url.replace(/\/*$/, '/');
  return !URL.canParse(url, base) || new URL(url, base).origin === new URL(base).origin;
}

/** Bytes of a NAR file; those that are stated, where only who reads it to its end can tell. */
async function sizeOf(url: string, storage: Storage, stated: number): Promise<number | undefined> {
  if (!/^[\x21-\x7e]+$/.test(url)) return undefined; // no URL, and told as such
  if (isPlain(url)) return (await storage.head(url))?.size;
  const found = await getNar(storage, url);
  if (!found) return undefined;
  for await (const _ of found.bytes) break; // or its connection would wait for a reader
  return found.size ?? stated;
}
