/** Questions about who refers to whom. */
import type { NarInfo } from '../format/narinfo.ts';
import type { StorePath } from '../format/store-path.ts';

type Infos = ReadonlyMap<StorePath, NarInfo>;

/** A shortest way from one path to another along references, both ends included; undefined if there is none. */
export function wayBetween(
  infos: Infos,
  from: StorePath,
  to: StorePath,
): readonly StorePath[] | undefined {
  const before = new Map<StorePath, StorePath | undefined>([[from, undefined]]);
  for (const path of before.keys()) {
    if (path === to) return back(before, to);
    for (const reference of infos.get(path)?.references ?? [])
      if (!before.has(reference)) before.set(reference, path);
  }
  return undefined;
}

function back(
  before: ReadonlyMap<StorePath, StorePath | undefined>,
  to: StorePath,
): readonly StorePath[] {
  const way: StorePath[] = [];
  for (let at: StorePath | undefined = to; at !== undefined; at = before.get(at)) way.push(at);
  return way.reverse();
}

/** A path with all that it refers to, itself included; what the cache lacks is left out. */
export function closureIn(infos: Infos, root: StorePath): ReadonlySet<StorePath> {
  const closure = new Set([root]);
  for (const path of closure)
    for (const reference of infos.get(path)?.references ?? [])
      if (infos.has(reference)) closure.add(reference);
  return closure;
}

/** Paths that no other refers to. */
export function rootsOf(infos: Infos): readonly StorePath[] {
  const referred = new Set<StorePath>();
  for (const { path, references } of infos.values())
    for (const reference of references) if (reference !== path) referred.add(reference);
  return [...infos.keys()].filter(path => !referred.has(path)).sort();
}

export interface Weight {
  readonly path: StorePath;
  /** Bytes of NAR: its own, those of its closure, and those that no other root needs. */
  readonly narSize: number;
  readonly closureSize: number;
  readonly ownSize: number;
  /** Bytes of the files of its closure, each counted once. */
  readonly fileSize: number;
  readonly paths: number;
}

/** What each root weighs, the heaviest first. */
export function weigh(infos: Infos, roots: readonly StorePath[]): readonly Weight[] {
  const closures = roots.map(root => closureIn(infos, root));
  const owners = new Map<StorePath, number>();
  for (const closure of closures)
    for (const path of closure) owners.set(path, (owners.get(path) ?? 0) + 1);
  const weights = roots.map((path, at): Weight => {
    const members = [...closures[at]!].map(each => infos.get(each)!);
    const own = members.filter(each => owners.get(each.path) === 1);
    return {
      path,
      narSize: infos.get(path)!.narSize,
      closureSize: narSizeOf(members),
      ownSize: narSizeOf(own),
      fileSize: fileSizeOf(members),
      paths: members.length,
    };
  });
  return weights.sort((a, b) => b.closureSize - a.closureSize || (a.path < b.path ? -1 : 1));
}

/** Bytes of NAR. */
export const narSizeOf = (infos: Iterable<Pick<NarInfo, 'narSize'>>): number => {
  let sum = 0;
  for (const { narSize } of infos) sum += narSize;
  return sum;
};

/** Bytes of the files, of which several narinfos may name one. */
export function fileSizeOf(infos: Iterable<NarInfo>): number {
  const files = new Map<string, number>();
  for (const { file } of infos) files.set(file.url, file.fileSize ?? 0);
  return [...files.values()].reduce((sum, size) => sum + size, 0);
}
