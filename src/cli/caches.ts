/** Opening a cache that has to be there already. */
import { existsSync } from 'node:fs';
import { cacheInfoKey } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { openStorage } from '../storage/open.ts';
import type { Storage } from '../storage/storage.ts';

/** @throws GranaryError `absent` when it does not exist, `usage` when it is no cache */
export async function openCacheToRead(name: string): Promise<Storage> {
  const storage = openStorage(name);
  if (!existsSync(storage.url))
    throw new GranaryError(
      'absent',
      `Cannot find the cache ${storage.url}: there is nothing of that name`,
    );
  if (await storage.head(cacheInfoKey)) return storage;
  for await (const { key } of storage.list?.('') ?? [])
    if (/^[^/]+\.narinfo$/.test(key)) return storage;
  throw new GranaryError(
    'usage',
    `Cannot read ${storage.url} as a cache: it has neither ${cacheInfoKey} nor a narinfo`,
  );
}
