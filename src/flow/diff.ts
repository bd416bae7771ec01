/** How two caches differ: what only one has, and what each says otherwise of a path. */
import type { NarInfo } from '../format/narinfo.ts';
import type { StorePath } from '../format/store-path.ts';
import type { ReadCache } from './read-cache.ts';

/** What two narinfos of one path can disagree on; `file`: its compression, hash or size. */
export type Difference = 'narHash' | 'references' | 'signatures' | 'deriver' | 'ca' | 'file';

export interface CacheDiff {
  /** In the order of their names, as all here. */
  readonly onlyFirst: readonly NarInfo[];
  readonly onlySecond: readonly NarInfo[];
  readonly different: readonly Different[];
  /** How many both have, and say the same of. */
  readonly same: number;
}

export interface Different {
  readonly path: StorePath;
  readonly in: readonly Difference[];
  readonly first: NarInfo;
  readonly second: NarInfo;
}

/** Compares what was read of them. */
export function diffCaches(first: ReadCache['infos'], second: ReadCache['infos']): CacheDiff {
  const onlyFirst: NarInfo[] = [];
  const different: Different[] = [];
  let same = 0;
  for (const info of inOrder(first)) {
    const other = second.get(info.path);
    if (!other) {
      onlyFirst.push(info);
      continue;
    }
    const differences = differencesOf(info, other);
    if (differences.length === 0) same += 1;
    else different.push({ path: info.path, in: differences, first: info, second: other });
  }
  const onlySecond = inOrder(second).filter(({ path }) => !first.has(path));
  return { onlyFirst, onlySecond, different, same };
}

const inOrder = (infos: ReadCache['infos']): readonly NarInfo[] =>
  [...infos.values()].sort((a, b) => (a.path < b.path ? -1 : 1));

/** What of a narinfo is compared, as text. */
const parts: Readonly<Record<Difference, (info: NarInfo) => string>> = {
  narHash: ({ narHash, narSize }) => `${narHash} ${narSize}`,
  references: ({ references }) => [...references].sort().join(' '), // no Nix heeds their order
  signatures: ({ signatures }) => [...signatures].sort().join(' '),
  deriver: ({ deriver = '' }) => deriver,
  ca: ({ ca = '' }) => ca,
  file: ({ file }) => `${file.compression} ${file.fileHash} ${file.fileSize}`,
};

const differencesOf = (a: NarInfo, b: NarInfo): readonly Difference[] =>
  (Object.keys(parts) as Difference[]).filter(part => parts[part](a) !== parts[part](b));
