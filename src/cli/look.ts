/** What the commands that look into a cache have in common. */
import { statedStoreDir } from '../cache/cache.ts';
import { cacheRoot } from '../flow/cache-root.ts';
import { type ReadCache, type ReadWish, readNarInfos } from '../flow/read-cache.ts';
import type { NarInfo, PackedNar } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { defaultStoreDir, parseStoreDir } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { openCacheToRead } from './caches.ts';

export interface Looked extends ReadCache {
  readonly storage: Storage;
}

/** Opens a cache and reads the narinfos that are wished for. */
export async function lookInto(name: string, wish: ReadWish): Promise<Looked> {
  const { storage, storeDir } = await openToLook(name);
  return { storage, ...(await readNarInfos(storage, storeDir, wish)) };
}

async function openToLook(name: string) {
  const storage = await openCacheToRead(name);
  const storeDir = parseStoreDir((await statedStoreDir(storage)) ?? defaultStoreDir);
  return { storage, storeDir };
}

/** The one path that a word names, and the place in it: `/nix/store/HASH-NAME/sub/file`, the same from HASH on, a link. */
export async function lookAtPlace(
  name: string,
  word: string,
): Promise<{ readonly storage: Storage; readonly info: NarInfo; readonly place: string }> {
  const { storage, storeDir } = await openToLook(name);
  const root = cacheRoot(word, storage, storeDir);
  const wish = { roots: [root.name], alone: true };
  const { infos, roots } = await readNarInfos(storage, storeDir, wish);
  const place = Buffer.from(root.place, 'utf8').toString('latin1'); // names in a NAR are bytes
  return { storage, info: infos.get(roots[0]!)!, place };
}

/** A narinfo, or what a store says of a path, as --json shows it. */
export const infoEvent = ({ path, file, ...info }: PathInfo & { readonly file?: PackedNar }) => ({
  path,
  narHash: info.narHash,
  narSize: info.narSize,
  references: info.references,
  deriver: info.deriver ?? null,
  ca: info.ca ?? null,
  signatures: info.signatures,
  url: file?.url ?? null,
  compression: file?.compression ?? null,
  fileHash: file?.fileHash ?? null,
  fileSize: file?.fileSize ?? null,
});
