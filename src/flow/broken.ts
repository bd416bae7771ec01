/** Narinfos of a cache that cannot be used: what they are told as, and what they take along. */
import { GranaryError } from '../errors.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import type { StorePath } from '../format/store-path.ts';

/** Why each cannot be used, by key. */
export type Broken = ReadonlyMap<string, GranaryError>;

/** One error that names them all. */
export function brokenError(broken: Broken, url: string): GranaryError {
  const [first, ...others] = [...broken.values()];
  if (others.length === 0) return first!;
  const keys = [...broken.keys()].sort();
  const all = keys.map(key => broken.get(key)!.message).join('; ');
  const message = `Cannot use ${keys.length} narinfos of ${url}: ${all}`;
  return new GranaryError('malformed', message, { keys }, first);
}

/** Paths, given references first, that refer to a broken one, if by way of others. What is `present` holds nothing up. */
export async function behindBroken(
  infos: readonly Pick<NarInfo, 'path' | 'references'>[],
  broken: Broken,
  {
    present,
    isThere,
  }: { present: ReadonlySet<StorePath>; isThere: (path: StorePath) => Promise<boolean> },
): Promise<ReadonlySet<StorePath>> {
  const behind = new Set<StorePath>();
  if (broken.size === 0) return behind;
  const known = new Map<StorePath, boolean>(); // one that is broken may be what everything refers to
  const isHere = async (path: StorePath): Promise<boolean> => {
    const here = known.get(path) ?? (await isThere(path));
    known.set(path, here);
    return here;
  };
  const isBad = async (reference: StorePath): Promise<boolean> =>
    behind.has(reference)
      ? !present.has(reference)
      : broken.has(narInfoKey(reference)) && !(await isHere(reference));
  for (const { path, references } of infos)
    for (const reference of references)
      if (reference !== path && (await isBad(reference))) {
        behind.add(path);
        break;
      }
  return behind;
}
