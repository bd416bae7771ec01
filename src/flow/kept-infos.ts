/** NarInfos as they are kept by the hundred thousand: what several say is kept once. */
import type { BareInfo } from '../format/narinfo.ts';
import type { StorePath } from '../format/store-path.ts';
import type { Thing } from '../storage/storage.ts';

/** Makes of each narinfo one that takes little memory. */
export function infoKeeper(things: ReadonlyMap<string, Thing>): (info: BareInfo) => BareInfo {
  const paths = new Map<StorePath, StorePath>();
  const once = (path: StorePath): StorePath => {
    const known = paths.get(path);
    if (known === undefined) paths.set(path, path);
    return known ?? path;
  };
  return info => {
    const { narHash, file } = info;
    const { url, fileHash } = file;
    return {
      ...info,
      path: once(info.path),
      references: info.references.map(once),
      file: {
        ...file,
        url: things.get(url)?.key ?? url,
        ...(fileHash === narHash ? { fileHash: narHash } : {}),
      },
    };
  };
}
