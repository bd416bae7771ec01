/**
 * What `copy` is going to do between two caches. A value; nothing is written.
 *
 *     roots ─▶ narinfos of the source, by their references ─▶ what the target lacks, has otherwise, or may be left out
 */
import { inspectTarget, statedStoreDir } from '../cache/cache.ts';
import type { NarInfo, PackedNar } from '../format/narinfo.ts';
import { fingerprint, type Signature } from '../format/signature.ts';
import {
  defaultStoreDir,
  parseStoreDir,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { type Broken, behindBroken } from './broken.ts';
import { topological } from './closure.ts';
import { type Conflict, conflictOf } from './conflict.ts';
import { each } from './each.ts';
import { asksAtOnce, type Exclusion, isElsewhere, isExcluded } from './exclude.ts';
import { type Filter, nothingFiltered, type Unwanted, wanted } from './filter.ts';
import { foundIn, lackOf } from './plan.ts';
import { readNarInfos } from './read-cache.ts';
import { addReferred } from './referred.ts';

export interface CopyPlan {
  readonly storeDir: StoreDir;
  /** What was asked for; all that the source has, if nothing was. */
  readonly roots: readonly StorePath[];
  /** References before referrers. */
  readonly moves: readonly Move[];
  /** Narinfos of the target that lack signatures of the source. */
  readonly additions: readonly Addition[];
  /** What the target has already. */
  readonly present: ReadonlySet<StorePath>;
  /** Those of them, with the NAR of the source, that may lack what the source keeps beside them. */
  readonly beside: readonly Beside[];
  /** What is left out since another cache has it. */
  readonly excluded: ReadonlySet<StorePath>;
  readonly conflicts: readonly Conflict[];
  /** Whether roots were named. */
  readonly isOfRoots: boolean;
  /** Those roots, or where none were named those paths, that the filter leaves out. */
  readonly unwanted: readonly Unwanted[];
  /** Narinfos of the source that cannot be used, and the paths that stay behind with them. */
  readonly broken: Broken;
  readonly held: readonly StorePath[];
  /** Bytes of the NARs that move, and of their files. */
  readonly narBytes: number;
  readonly fileBytes: number;
}

/** A path that moves with its files. */
export interface Move {
  /** As the source has it. */
  readonly info: NarInfo;
  /** Those that the target has of the same. */
  readonly kept: readonly Signature[];
  /** Why it moves although the target has a narinfo for it. */
  readonly again?: string;
}

/** A path that both have. */
export interface Beside {
  /** As the source has it. */
  readonly info: NarInfo;
  /** What the target has. */
  readonly file: PackedNar;
}

interface Addition {
  /** As the source has it. */
  readonly info: NarInfo;
  readonly signatures: readonly Signature[];
}

export interface CopyWish {
  /** Store paths, base names or hash parts; without it, everything. */
  readonly roots?: readonly string[];
  /** Exactly the roots, whatever they refer to. */
  readonly noClosure: boolean;
  readonly exclude: Exclusion;
  /** What is not copied, with all that needs it. */
  readonly filter?: Filter;
  /** Whose NAR is right, where both have one. */
  readonly prefer: 'nobody' | 'source';
}

/**
 * @throws GranaryError `absent` for a root or a reference that nobody has, `malformed` where the narinfo of a root, or all
 * that there are, cannot be used, `usage` for a source that cannot be listed
 * and no roots, `conflict` for caches of two store directories
 */
export async function planCopy(
  source: Storage,
  target: Storage,
  wish: CopyWish,
): Promise<CopyPlan> {
  const storeDir = parseStoreDir((await statedStoreDir(source)) ?? defaultStoreDir);
  const info = await inspectTarget(target, storeDir);
  const isEmpty = info === undefined && (await target.top?.())?.length === 0;
  const there = async (path: StorePath) => (isEmpty ? undefined : foundIn(target, path));
  const excluded = new Set<StorePath>();
  const { infos, roots, broken } = await readNarInfos(source, storeDir, {
    roots: wish.roots,
    partly: true,
    alone: wish.noClosure,
    leaveOut: async info => {
      const isOut = await isExcluded(info, wish.exclude);
      if (isOut) excluded.add(info.path);
      return isOut;
    },
  });

  const candidates: Move[] = [];
  const additions: Addition[] = [];
  const conflicts: Conflict[] = [];
  const present = new Set<StorePath>();
  const beside: Beside[] = [];
  // Far away only a list tells cheaply what is there, and that of a whole cache is long for a few roots.
  const looksBeside = !source.isFar || wish.roots === undefined;
  const atOnce = asksAtOnce(target, wish.exclude);
  await each(infos.values(), atOnce, async info => {
    const found = await there(info.path);
    const conflict = wish.prefer === 'nobody' ? conflictOf(info, found) : undefined;
    if (conflict) {
      conflicts.push(conflict);
      if (conflict.other === info.path) present.add(info.path); // it stays, and may be referred to
      return;
    }
    const lack = await lackOf(info, found, target, false);
    const isSame = typeof found === 'object' && fingerprint(found) === fingerprint(info);
    const kept = isSame ? found.signatures : [];
    if (lack !== undefined) {
      candidates.push({ info, kept, ...(found === undefined ? {} : { again: lack }) });
      return;
    }
    present.add(info.path);
    if (looksBeside && typeof found === 'object') beside.push({ info, file: fileOf(found, info) });
    const missing = info.signatures.filter(signature => !kept.includes(signature));
    if (isSame && missing.length > 0) additions.push({ info, signatures: missing });
  });
  const ordered = topological(infos);
  const order = new Map(ordered.map(({ path }, at) => [path, at]));
  candidates.sort((a, b) => order.get(a.info.path)! - order.get(b.info.path)!);
  const asked = { infos, roots: wish.roots && roots };
  const { moves: all, unwanted } = wanted(candidates, wish.filter ?? nothingFiltered, asked);
  const isThere = async (path: StorePath): Promise<boolean> => {
    const found = await there(path);
    return (typeof found === 'object' && found.path === path) || isElsewhere(path, wish.exclude);
  };
  const behind = await behindBroken(ordered, broken, { present, isThere });
  const moves = all.filter(({ info }) => !behind.has(info.path));
  const held = all.flatMap(({ info }) => (behind.has(info.path) ? [info.path] : []));
  const moving = new Map(moves.map(({ info }) => [info.path, info]));
  for (const { path } of conflicts) if (!behind.has(path)) moving.set(path, infos.get(path)!); // what refers to one is held
  const places = { source: source.url, there, exclude: wish.exclude, atOnce };
  await addReferred(moving, { present, excluded }, places);
  const sum = (size: (info: NarInfo) => number): number =>
    moves.reduce((total, { info }) => total + size(info), 0);
  return {
    storeDir,
    roots,
    moves,
    additions,
    present,
    beside,
    excluded,
    conflicts,
    isOfRoots: wish.roots !== undefined,
    unwanted,
    broken,
    held,
    narBytes: sum(({ narSize }) => narSize),
    fileBytes: sum(({ file }) => file.fileSize ?? 0),
  };
}

/** The file that the target has, without holding the text of its narinfo, of which what was read of it is a part. */
const fileOf = (found: NarInfo, { file }: NarInfo): PackedNar =>
  found.file.url === file.url ? file : structuredClone(found.file);
