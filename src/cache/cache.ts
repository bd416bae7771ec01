/**
 * A Cache is a Storage that speaks narinfo. What it promises (house law, each a test):
 * a narinfo names only a file that is complete in storage, and every reference of a narinfo has a
 * narinfo. Hence NARs are put first, and narinfos are published after them, references first.
 */
import { collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { encodeBase32 } from '../format/base32.ts';
import { type CacheInfo, parseCacheInfo, withCacheInfo } from '../format/cache-info.ts';
import { digestOf, type Hash } from '../format/hash.ts';
import {
  type NarInfo,
  narInfoKey,
  type PackedNar,
  parseNarInfo,
  printNarInfo,
} from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { hashPart, type StoreDir, type StorePath } from '../format/store-path.ts';
import {
  bodyOf,
  type Entry,
  type Found,
  isTemporaryKey,
  type Storage,
} from '../storage/storage.ts';
import { codecFor, type WritableCompression } from './codec.ts';

export const cacheInfoKey = 'nix-cache-info';

/** A narinfo or nix-cache-info beyond this is no such file. Nix has no limit; memory has. */
const metadataLimit = 4 << 20;
/** The same of a listing or a log. */
export const longText = 64 << 20;

/**
 * Folders that some Nix, past or coming, makes on opening a `file://` cache, and so must be there
 * already when the cache is mounted read-only. Their placeholder survives tools that drop empty
 * folders or dot files.
 */
export const folders = ['nar', 'log', 'realisations', 'build-trace-v2', 'debuginfo'];
const placeholder =
  'Keeps this folder in copies of the cache: Nix needs it when the cache is read-only.\n';

/** What `nix-cache-info` should say; what is left out stays as it is. */
export interface CacheInfoChanges {
  readonly priority?: number;
  readonly wantMassQuery?: boolean;
}

/** The file name of a NAR, from the hash of the compressed file. */
export const narKey = (fileHash: Hash, compression: WritableCompression): string =>
  `nar/${encodeBase32(digestOf(fileHash))}.nar${codecFor(compression).extension}`;

export const listingKey = (path: StorePath): string => `${hashPart(path)}.ls`;

/**
 * The state of a storage that is to hold a cache for `storeDir`; writes nothing.
 *
 * @throws GranaryError `conflict` when it is a cache for another store directory, `usage` when it
 * holds other things and no cache
 */
export async function inspectTarget(
  storage: Storage,
  storeDir: StoreDir,
): Promise<CacheInfo | undefined> {
  const info = await readCacheInfo(storage, storeDir);
  if (info) return info;
  const names = (await storage.top?.()) ?? [];
  const narInfo = names.find(name => /^[^/]+\.narinfo$/.test(name));
  if (narInfo !== undefined) {
    const stated = storeDirIn((await readText(storage, narInfo)) ?? '');
    if (stated !== undefined && stated !== storeDir) throw otherStore(storage, storeDir, stated);
    return undefined;
  }
  const stranger = names.find(name => !folders.includes(name) && !isTemporaryKey(name));
  if (stranger === undefined) return undefined;
  const late = await readCacheInfo(storage, storeDir); // another writer may have come meanwhile
  if (late) return late;
  throw new GranaryError(
    'usage',
    `Cannot make a cache in ${storage.url}: it holds other things (such as "${stranger}") and no cache; name a new or empty folder`,
  );
}

/** What `nix-cache-info` says, if it is there; it has to be that of a cache for `storeDir`. */
async function readCacheInfo(storage: Storage, storeDir: StoreDir): Promise<CacheInfo | undefined> {
  const text = await readText(storage, cacheInfoKey);
  if (text === undefined) return undefined;
  const info = parseCacheInfo(text);
  if (info.storeDir === undefined || info.storeDir === storeDir) return info;
  throw otherStore(storage, storeDir, info.storeDir);
}

/**
 * Writes `nix-cache-info` and the folders with their placeholders, where they are not yet right. They are
 * published, not put: half a `nix-cache-info` would be that of another cache.
 */
export async function prepareCache(
  storage: Storage,
  storeDir: StoreDir,
  changes: CacheInfoChanges,
): Promise<void> {
  const old = await readText(storage, cacheInfoKey);
  const text = withCacheInfo(old, { storeDir, ...changes });
  const entries: Entry[] = [];
  for (const entry of folders.map(folderEntry))
    if (!(await storage.head(entry.key))) entries.push(entry);
  if (text !== old) entries.push(cacheInfoEntry(text)); // last: with it, this is a cache, and has to be whole
  if (entries.length > 0) await storage.publish(entries);
}

export const cacheInfoEntry = (text: string): Entry => ({ key: cacheInfoKey, body: bodyOf(text) });

/** The placeholder that keeps a folder. */
export const folderEntry = (folder: string): Entry => ({
  key: `${folder}/KEEP`,
  body: bodyOf(placeholder),
});

/**
 * The narinfo of a path, if the cache has one under its key.
 *
 * @throws GranaryError `malformed` when it is there and cannot be read
 */
export async function readNarInfo(
  storage: Storage,
  path: StorePath,
  storeDir: StoreDir,
): Promise<NarInfo | undefined> {
  return narInfoAt(storage, narInfoKey(path), storeDir);
}

/** The narinfo under a key, of whatever path it may be. */
export async function narInfoAt(
  storage: Storage,
  key: string,
  storeDir: StoreDir,
): Promise<NarInfo | undefined> {
  const text = await readText(storage, key);
  try {
    return text === undefined ? undefined : parseNarInfo(text, storeDir);
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const message = unreadNarInfo(error, text!, `${storage.url}/${key}`);
    throw new GranaryError(error.code, message, { ...error.facts, key }, error);
  }
}

/** Why no narinfo could be read from the text that lies there. Servers give pages for what they lack, and networks before a login. */
export const unreadNarInfo = ({ message }: GranaryError, text: string, where: string): string =>
  /^(\xef\xbb\xbf)?\s*</.test(text)
    ? `Cannot read ${where}: it is a web page and no narinfo; check the URL that it comes from, whose server has to answer 404 for what it does not have`
    : message.replace(/^Cannot read the narinfo/, `Cannot read ${where}`);

/** The file that a narinfo's URL names: over HTTP what a URL means there, in a folder a file of that very name. */
export const getNar = (storage: Storage, url: string): Promise<Found | undefined> =>
  storage.follow ? storage.follow(url) : storage.get(url);

/** The entry that makes a path visible. All its references must be visible before it. */
export const narInfoEntry = (info: PathInfo, file: PackedNar): Entry => ({
  key: narInfoKey(info.path),
  body: bodyOf(printNarInfo(info, file)),
});

export const listingEntry = (path: StorePath, listing: string): Entry => ({
  key: listingKey(path),
  body: bodyOf(listing),
});

/** A small file of the cache, as latin-1; undefined when it is not there. */
export async function readText(
  storage: Storage,
  key: string,
  limit = metadataLimit,
): Promise<string | undefined> {
  const found = await storage.get(key);
  if (!found) return undefined;
  const bytes = await collect(found.bytes, limit);
  if (bytes) return bytes.toString('latin1');
  throw new GranaryError(
    'malformed',
    `Cannot read "${key}" of ${storage.url}: it is far too long`,
    {
      key,
    },
  );
}

/**
 * The store directory of the cache: what its nix-cache-info says, however bad the rest of it is, or else
 * what one of its narinfos says. Only `names` are looked at, where they are given.
 */
export async function statedStoreDir(
  storage: Storage,
  names?: readonly string[],
): Promise<string | undefined> {
  const isThere = names?.includes(cacheInfoKey) ?? (await storage.head(cacheInfoKey));
  const text = isThere ? await readText(storage, cacheInfoKey) : undefined;
  const stated = /^StoreDir:[ \t]*(\/[^\r\n]*?)[ \t\r]*$/m.exec(text ?? '')?.[1];
  if (stated !== undefined) return stated;
  const top = names ?? (await storage.top?.()) ?? [];
  for (const name of top.filter(each => /^[^/]+\.narinfo$/.test(each)).slice(0, 100)) {
    const found = (await storage.head(name)) && storeDirIn((await readText(storage, name)) ?? '');
    if (found) return found;
  }
  return undefined;
}

/** What the paths of a narinfo begin with, however bad the rest of it is. */
const storeDirIn = (text: string): string | undefined =>
  /^StorePath: (\/[^\n]+)\/[^/\n]+$/m.exec(text)?.[1];

const otherStore = (storage: Storage, expected: string, actual: string): GranaryError =>
  new GranaryError(
    'conflict',
    `Cannot put paths of ${expected} into ${storage.url}: it is a cache for ${actual}`,
    { expected, actual },
  );
