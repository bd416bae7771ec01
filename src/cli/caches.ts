/** Opening a cache that has to be there already, and refusing to write to one that must not change. */
import { accessSync, constants, existsSync, realpathSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { cacheInfoKey, readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { openStorage } from '../storage/open.ts';
import type { Storage } from '../storage/storage.ts';
import { refuseStore } from './ends.ts';

/** @throws GranaryError `absent` when it does not exist, `usage` when it is no cache, such as a store */
export async function openCacheToRead(name: string): Promise<Storage> {
  refuseStore(name);
  const storage = openStorage(name);
  if (!storage.list) {
    await findCacheInfo(storage);
    return storage;
  }
  if (storage.local && !existsSync(storage.url))
    throw new GranaryError(
      'absent',
      `Cannot find the cache ${storage.url}: there is nothing of that name`,
    );
  if (await storage.head(cacheInfoKey)) return storage;
  for await (const { key } of storage.list('')) if (/^[^/]+\.narinfo$/.test(key)) return storage;
  throw new GranaryError(
    'usage',
    `Cannot read ${storage.url} as a cache: it has neither ${cacheInfoKey} nor a narinfo`,
  );
}

/** Where nothing can be listed, a cache is what says that it is one. */
async function findCacheInfo(storage: Storage): Promise<void> {
  const text = await readText(storage, cacheInfoKey);
  if (text === undefined)
    throw new GranaryError(
      'absent',
      `Cannot find a cache at ${storage.url}: there is no ${cacheInfoKey}`,
    );
  if (/^\s*</.test(text))
    throw new GranaryError(
      'usage',
      `Cannot read ${storage.url} as a cache: its ${cacheInfoKey} is a web page; name the URL that ${cacheInfoKey} lies below`,
    );
}

/**
 * @throws GranaryError `usage` for a cache that cannot be listed where no roots are named, that lies in a Nix store, which
 * root could change, or that is read-only
 */
export function refuseReadOnly(
  verb: string,
  storage: Storage,
  roots: readonly string[] | undefined,
): void {
  const { url } = storage;
  if (!storage.inventory && !roots) {
    const orRoots = verb === 'verify --record' ? '' : 'ROOTs, to do it with their closures, or ';
    throw new GranaryError(
      'usage',
      `Cannot ${verb} all of ${url}: what lies there cannot be listed; name ${orRoots}the folder that it is served from`,
    );
  }
  if (!storage.local) return;
  if (isInStore(url)) {
    const real = realpathSync(url);
    const instead =
      verb === 'sign'
        ? `take it out and sign it in one pass with "granary copy --from ${real} --to ./cache --sign FILE"`
        : copiedFirst(verb, url);
    throw inStore(verb, url, instead);
  }
  refuseUnwritable(verb, url);
}

/**
 * @throws GranaryError `usage` for a folder, there or not, in a Nix store, where root could change it: but for what a
 * build is making there, which is empty, and may be written to
 */
export async function refuseToAdd(verb: string, storage: Storage): Promise<void> {
  const { url } = storage;
  if (!storage.local) return;
  let place = url; // the nearest folder that is there
  while (!existsSync(place)) place = dirname(place);
  if (isInStore(place)) {
    const isEmpty = (await storage.top!()).length === 0;
    if (!isEmpty) throw inStore(verb, url, copiedFirst(verb, url));
    const isSealed = (statSync(place).mode & 0o222) === 0; // as Nix leaves what is done
    if (isSealed) throw inStore(verb, url, 'name another folder');
  }
}

/** @throws GranaryError `usage` for a folder that is there and that we may not write to */
export function refuseUnwritable(verb: string, url: string): void {
  if (!existsSync(url)) return;
  try {
    accessSync(url, constants.W_OK);
  } catch (error) {
    throw new GranaryError(
      'usage',
      `Cannot ${verb} ${url}: it cannot be written to (${(error as NodeJS.ErrnoException).code})`,
      {},
      error,
    );
  }
}

const isInStore = (folder: string): boolean =>
  /\/[0-9abcdfghijklmnpqrsvwxyz]{32}-[^/]+/.test(realpathSync(folder));

const copiedFirst = (verb: string, folder: string): string =>
  `copy it first with "cp -r --no-preserve=mode ${realpathSync(folder)} ./cache", then ${verb} ./cache`;

const inStore = (verb: string, folder: string, instead: string): GranaryError =>
  new GranaryError(
    'usage',
    `Cannot ${verb} ${folder}: it lies in a Nix store, where nothing may change; ${instead}`,
  );
