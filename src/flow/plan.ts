/** What `make` is going to do: a value, decided before anything is written. */
import { inspectTarget, listingKey, readNarInfo } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint } from '../format/signature.ts';
import { type StoreDir, type StorePath, storeDirOf } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import type { Store } from '../store/store.ts';
import { closureOf, infosOf } from './closure.ts';
import { type Conflict, conflictOf } from './conflict.ts';
import { each } from './each.ts';
import { asksAtOnce, type Exclusion, isExcluded, nothingExcluded } from './exclude.ts';
import type { Origin } from './make-sides.ts';
import { addReferred } from './referred.ts';

/** A store to read from, and what is wanted of it. */
export interface Source {
  readonly store: Store;
  readonly roots: readonly StorePath[];
}

/** A path that has to be packed. */
export interface Pack {
  readonly info: PathInfo;
  readonly store: Store;
  /** Why it is packed although the cache has a narinfo for it. */
  readonly again?: string;
}

export interface MakePlan {
  readonly roots: readonly StorePath[];
  /** References before referrers. */
  readonly packs: readonly Pack[];
  readonly present: ReadonlySet<StorePath>;
  /** What is left out since another cache has it. */
  readonly excluded: ReadonlySet<StorePath>;
  /** Paths of which the cache has another NAR, which stays. */
  readonly conflicts: readonly Conflict[];
  /** Where they are from, also what is left out. */
  readonly origins: readonly Origin[];
  /** Bytes of NAR to pack. */
  readonly narBytes: number;
  /** Whether some path has neither a signature nor a content address that clients could believe. */
  readonly needsSignatures: boolean;
  /** Bytes free where the cache lies, if known. */
  readonly freeBytes?: number;
}

interface PlanOptions {
  readonly storeDir: StoreDir;
  /** Whether a path without its listing is not complete. */
  readonly listings: boolean;
  /** Whether the plan names the derivers of all paths. */
  readonly logs?: boolean;
  /** Exactly the roots, whatever they refer to. */
  readonly noClosure?: boolean;
  readonly exclude?: Exclusion;
  /** Whose NAR is right, where the cache has another: usually the store's. */
  readonly prefer?: 'source' | 'nobody';
  /** Told early that there is no cache yet, so that all has to be packed. */
  readonly onEmpty?: () => void;
  /** Told of how many paths each closure is, before they are looked for. */
  readonly onClosure?: (paths: number) => void;
}

/**
 * Compares the closures of the sources with what the cache already has. Writes nothing.
 *
 * @throws GranaryError as `closureOf` and `inspectTarget` do, and `absent` for a reference that nobody has, without the
 * closure
 */
export async function planMake(
  sources: readonly Source[],
  storage: Storage,
  {
    storeDir,
    listings,
    logs = false,
    noClosure = false,
    exclude = nothingExcluded,
    prefer = 'source',
    onEmpty,
    onClosure,
  }: PlanOptions,
): Promise<MakePlan> {
  const target = await inspectTarget(storage, storeDir);
  const isEmpty = target === undefined && (await storage.top?.())?.length === 0;
  if (isEmpty) onEmpty?.();
  const there = async (path: StorePath) => (isEmpty ? undefined : foundIn(storage, path));
  const seen = new Set<StorePath>();
  const present = new Set<StorePath>();
  const excluded = new Set<StorePath>();
  const packs: Pack[] = [];
  const conflicts: Conflict[] = [];
  const origins: Origin[] = [];
  let needsSignatures = false;
  const atOnce = asksAtOnce(storage, exclude);
  for (const { store, roots } of sources) {
    const paths: StorePath[] = [];
    const derivers = new Set<StorePath>();
    origins.push({ store, paths, derivers });
    const closure = await (noClosure ? infosOf : closureOf)(roots, store);
    onClosure?.(closure.length);
    const lacking: (Pack | undefined)[] = []; // in the order of the closure, whichever is looked for first
    await each(closure.entries(), atOnce, async ([at, info]) => {
      if (seen.has(info.path)) return;
      seen.add(info.path);
      paths.push(info.path);
      if (await isExcluded(info, exclude)) {
        excluded.add(info.path);
        return;
      }
      if (logs && info.deriver) derivers.add(info.deriver);
      needsSignatures ||= info.ca === undefined && info.signatures.length === 0;
      const found = await there(info.path);
      const conflict = prefer === 'nobody' ? conflictOf(info, found) : undefined;
      if (conflict) {
        conflicts.push(conflict);
        if (conflict.other === info.path) present.add(info.path); // it stays, and may be referred to
        return;
      }
      const lack = await lackOf(info, found, storage, listings);
      if (lack === undefined) {
        present.add(info.path);
        return;
      }
      const again = found === undefined ? {} : { again: lack };
      lacking[at] = { info: withSignaturesOf(found, info), store, ...again };
    });
    for (const pack of lacking) if (pack) packs.push(pack);
  }
  if (noClosure) {
    const source = sources.map(({ store }) => store.url).join(', ');
    const infos = new Map(packs.map(({ info }) => [info.path, info]));
    await addReferred(infos, { present, excluded }, { source, there, exclude, atOnce });
  }
  const freeBytes = await storage.free?.();
  return {
    roots: sources.flatMap(source => source.roots),
    packs,
    present,
    excluded,
    conflicts,
    origins,
    narBytes: packs.reduce((sum, pack) => sum + pack.info.narSize, 0),
    needsSignatures,
    ...(freeBytes === undefined ? {} : { freeBytes }),
  };
}

/** The narinfo that the cache has of a path, or why it cannot be read. */
export const foundIn = (storage: Storage, path: StorePath): Promise<NarInfo | string | undefined> =>
  readNarInfo(storage, path, storeDirOf(path)).catch(asReason);

/** Why the cache does not have this path as the store does; undefined when it has. */
export async function lackOf(
  info: PathInfo,
  found: NarInfo | string | undefined,
  storage: Storage,
  listings: boolean,
): Promise<string | undefined> {
  if (found === undefined) return 'it is not there';
  if (typeof found === 'string') return found;
  if (found.path !== info.path) return `its narinfo is that of ${found.path}`;
  if (found.narHash !== info.narHash)
    return `its narinfo has NarHash ${found.narHash}, the store ${info.narHash}`;
  if (found.file.fileSize === undefined) return 'its narinfo does not say how big its NAR file is';
  const file = await storage.head(found.file.url).catch(asReason);
  if (file === undefined) return `its NAR file ${found.file.url} is missing`;
  if (typeof file === 'string') return file;
  if (file.size !== found.file.fileSize)
    return `its NAR file ${found.file.url} has ${file.size} bytes instead of ${found.file.fileSize}`;
  if (listings && !(await storage.head(listingKey(info.path)))) return 'its listing is missing';
  return undefined;
}

/** A path that is packed again keeps the signatures that the cache has of it, where they are of the same. */
function withSignaturesOf(found: NarInfo | string | undefined, info: PathInfo): PathInfo {
  if (typeof found !== 'object' || fingerprint(found) !== fingerprint(info)) return info;
  return { ...info, signatures: [...info.signatures, ...found.signatures] };
}

/** Damage in the cache is a reason to pack anew; anything else is an error. */
function asReason(error: unknown): string {
  if (error instanceof GranaryError && error.code === 'malformed') return error.message;
  throw error;
}
