/** What two places have under one name, otherwise. */
import type { PathInfo } from '../format/path-info.ts';
import type { StorePath } from '../format/store-path.ts';

/** One path with two NARs, or two paths with one hash part. */
export interface Conflict {
  readonly path: StorePath;
  /** What the target has in its place: the same, but in a hostile cache. */
  readonly other: StorePath;
  readonly sourceHash: string;
  readonly targetHash: string;
}

type Known = Pick<PathInfo, 'path' | 'narHash'>;

/** How what the target has is another than what is to come; undefined where it is not. */
export function conflictOf(info: Known, found: Known | string | undefined): Conflict | undefined {
  if (typeof found !== 'object') return undefined;
  if (found.path === info.path && found.narHash === info.narHash) return undefined;
  return {
    path: info.path,
    other: found.path,
    sourceHash: info.narHash,
    targetHash: found.narHash,
  };
}
