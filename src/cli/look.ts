/** What the commands that look into a cache have in common. */
import { statedStoreDir } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
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
  const storage = await openCacheToRead(name);
  const storeDir = parseStoreDir((await statedStoreDir(storage)) ?? defaultStoreDir);
  return { storage, ...(await readNarInfos(storage, storeDir, wish)) };
}

/** A place in a path: `/nix/store/HASH-NAME/sub/file`, or the same from HASH on. */
export function splitPlace(word: string): { readonly root: string; readonly place: string } {
  const found = /^(?:\/.*?\/)?([0-9abcdfghijklmnpqrsvwxyz]{32}(?:-[^/]*)?)(?:\/(.*))?$/s.exec(word);
  if (!found)
    throw new GranaryError(
      'usage',
      `Cannot find "${word}" in a cache: name a store path, its base name or its hash part, with what is below it`,
    );
  const place = Buffer.from(found[2] ?? '', 'utf8').toString('latin1'); // names in a NAR are bytes
  return { root: found[1]!, place };
}

/** The one path that a word names. */
export async function lookAtOne(
  name: string,
  root: string,
): Promise<{ readonly storage: Storage; readonly info: NarInfo }> {
  const { storage, infos, roots } = await lookInto(name, { roots: [root], alone: true });
  return { storage, info: infos.get(roots[0]!)! };
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
