/** What goes into a store that somebody else writes. A value; nothing is written. */
import { GranaryError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { StoreDir, StorePath } from '../format/store-path.ts';
import type { WritableStore } from '../store/store.ts';
import { type Broken, behindBroken } from './broken.ts';
import { topological } from './closure.ts';
import { type Conflict, conflictOf } from './conflict.ts';
import { type Exclusion, isExcluded } from './exclude.ts';
import type { Supply } from './supply.ts';

export interface ImportPlan<Info extends PathInfo = PathInfo> {
  readonly storeDir: StoreDir;
  /** What was asked for; all that a cache has, if nothing was. */
  readonly roots: readonly StorePath[];
  /** References before referrers. */
  readonly moves: readonly Info[];
  /** What the store has already. */
  readonly present: ReadonlySet<StorePath>;
  readonly excluded: ReadonlySet<StorePath>;
  /** Paths that the store has with another NAR, and keeps. */
  readonly conflicts: readonly Conflict[];
  /** Narinfos of a cache that cannot be used, and the paths that stay behind with them. */
  readonly broken: Broken;
  readonly held: readonly StorePath[];
  /** Bytes of the NARs that move, and of the files of a cache that hold them. */
  readonly narBytes: number;
  readonly fileBytes: number;
}

export interface ImportWish {
  /** Exactly the roots, whatever they refer to. */
  readonly noClosure: boolean;
  readonly exclude: Exclusion;
}

/**
 * Compares what is wanted with what the store has.
 *
 * @throws GranaryError `absent` for a root or a reference that nobody has, `malformed` where the narinfo of a root, or all
 * that there are, cannot be used, `usage` for a cache that cannot be listed and
 * no roots, `conflict` for two store directories
 */
export async function planImport<Info extends PathInfo & { readonly file?: NarInfo['file'] }>(
  supply: Supply<Info>,
  store: WritableStore,
  { noClosure, exclude }: ImportWish,
): Promise<ImportPlan<Info>> {
  const { storeDir } = store;
  if (supply.storeDir !== storeDir)
    throw new GranaryError(
      'conflict',
      `Cannot put paths of ${supply.storeDir} into the store ${store.url}: its paths are of ${storeDir}`,
      { expected: storeDir, actual: supply.storeDir },
    );
  const excluded = new Set<StorePath>();
  const {
    infos,
    roots,
    broken = new Map(),
  } = await supply.read({
    noClosure,
    leaveOut: async info => {
      const isOut = await isExcluded(info, exclude);
      if (isOut) excluded.add(info.path);
      return isOut;
    },
  });
  const named = new Set<StorePath>();
  for (const { path, references } of infos.values())
    for (const each of [path, ...references]) named.add(each);
  const valid = named.size === 0 ? named : await store.valid([...named]);
  const ordered = topological(infos);
  const isThere = async (path: StorePath): Promise<boolean> => valid.has(path);
  const behind = await behindBroken(ordered, broken, { present: valid, isThere });
  const lacked = ordered.filter(({ path }) => !valid.has(path));
  const moves = lacked.filter(({ path }) => !behind.has(path));
  for (const { path, references } of moves)
    for (const reference of references)
      if (!infos.has(reference) && !valid.has(reference))
        throw notWithout(
          path,
          reference,
          excluded.has(reference) ? 'is left out' : 'does not come along',
          store,
        );
  const present = [...infos.keys()].filter(path => valid.has(path));
  const theirs = present.length === 0 ? [] : await store.infos(present);
  const sum = (size: (info: Info) => number): number =>
    moves.reduce((total, info) => total + size(info), 0);
  return {
    storeDir,
    roots,
    moves,
    present: new Set(present),
    excluded,
    conflicts: theirs.flatMap(found => conflictOf(infos.get(found.path)!, found) ?? []),
    broken,
    held: lacked.flatMap(({ path }) => (behind.has(path) ? [path] : [])),
    narBytes: sum(({ narSize }) => narSize),
    fileBytes: sum(({ file }) => file?.fileSize ?? 0),
  };
}

/** A cache may be closed by another one; a store is closed by itself. */
const notWithout = (
  path: StorePath,
  reference: StorePath,
  why: string,
  store: WritableStore,
): GranaryError =>
  new GranaryError(
    'absent',
    `Cannot copy ${path} into ${store.url}: it refers to ${reference}, which ${why} and which the store has not; copy that first`,
    { path: reference, referrer: path },
  );
