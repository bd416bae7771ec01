/**
 * NarInfos as they are kept by the hundred thousand. Their texts would be 100 MB, and a string that was
 * cut from a text keeps all of it; what several say is kept once.
 */
import type { NarInfo } from '../format/narinfo.ts';
import type { StorePath } from '../format/store-path.ts';
import type { Thing } from '../storage/storage.ts';

/** Makes of each narinfo one that takes little memory, and has no text. */
export function infoKeeper(things: ReadonlyMap<string, Thing>): (info: NarInfo) => NarInfo {
  const paths = new Map<StorePath, StorePath>();
  const once = (path: StorePath): StorePath => {
    const known = paths.get(path);
    if (known === undefined) paths.set(path, path);
    return known ?? path;
  };
  return info => {
    const { path, references, file, ...rest } = info;
    const own: typeof rest = apart({ ...rest, text: '' });
    const { url, fileHash, ...packed } = file;
    return {
      ...own,
      path: once(path),
      references: references.map(once),
      file: {
        ...packed,
        url: things.get(url)?.key ?? apart(url),
        ...(fileHash && { fileHash: fileHash === own.narHash ? own.narHash : apart(fileHash) }),
      },
    };
  };
}

/** A copy that shares nothing with what its strings were cut from. */
const apart = <T>(value: T): T => JSON.parse(JSON.stringify(value));
