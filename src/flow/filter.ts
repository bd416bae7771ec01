/**
 * What a mirror does without. A cache stays closed, so what is left out takes along all that refers to it: a root that
 * needs such a path is left out whole, with what no other root needs.
 */
import { matchesGlob } from 'node:path/posix';
import type { NarInfo } from '../format/narinfo.ts';
import { namePart, type StorePath } from '../format/store-path.ts';

export interface Filter {
  /** Patterns, as shells have them, of names without their hash. */
  readonly names: readonly string[];
  /** The biggest file, in bytes; of a NAR where no narinfo says how big its file is. */
  readonly maxBytes?: number;
}

export const nothingFiltered: Filter = { names: [] };

/** A path that is not copied since it is, or refers to, what is not wanted. */
export interface Unwanted {
  readonly path: StorePath;
  /** The path that is not wanted; it may be the same. */
  readonly because: StorePath;
  /** Bytes of its file. */
  readonly size: number;
  /** The pattern that its name matches; undefined for one that is too big. */
  readonly name?: string;
}

interface Wanted<Move> {
  /** In the order in which they came. */
  readonly moves: readonly Move[];
  /** The roots that are left out; where there are none, all paths that are. */
  readonly unwanted: readonly Unwanted[];
}

/** What is left of some moves, which come references before referrers. Only what the target lacks is filtered. */
export function wanted<Move extends { readonly info: NarInfo; readonly again?: string }>(
  moves: readonly Move[],
  filter: Filter,
  { infos, roots }: Asked,
): Wanted<Move> {
  const tainted = new Map<StorePath, Unwanted>();
  for (const { info, again } of moves) {
    const { path } = info;
    const own = again === undefined ? unwanted(info, filter) : undefined;
    const below = info.references.map(reference => tainted.get(reference)).find(Boolean);
    if (own) tainted.set(path, own);
    else if (below) tainted.set(path, { ...below, path });
  }
  if (tainted.size === 0) return { moves, unwanted: [] };
  if (!roots)
    return {
      moves: moves.filter(({ info }) => !tainted.has(info.path)),
      unwanted: [...tainted.values()],
    };
  const needed = new Set(roots.filter(root => !tainted.has(root)));
  for (const path of needed)
    for (const reference of infos.get(path)?.references ?? []) needed.add(reference);
  return {
    moves: moves.filter(({ info }) => needed.has(info.path)),
    unwanted: roots.toSorted().flatMap(root => tainted.get(root) ?? []),
  };
}

interface Asked {
  readonly infos: ReadonlyMap<StorePath, NarInfo>;
  /** What was named; undefined for everything. */
  readonly roots: readonly StorePath[] | undefined;
}

function unwanted({ path, narSize, file }: NarInfo, filter: Filter): Unwanted | undefined {
  const size = file.fileSize ?? narSize;
  const name = filter.names.find(pattern => matchesGlob(namePart(path), pattern));
  if (name !== undefined) return { path, because: path, size, name };
  return size > (filter.maxBytes ?? Number.POSITIVE_INFINITY)
    ? { path, because: path, size }
    : undefined;
}
