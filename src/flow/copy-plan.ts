/**
 * What `copy` is going to do between two caches. A value; nothing is written.
 *
 *     roots ─▶ narinfos of the source, by their references ─▶ what the target lacks, has otherwise, or may be left out
 */
import { inspectTarget, readNarInfo, statedStoreDir } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import { fingerprint, type Signature } from '../format/signature.ts';
import {
  baseName,
  defaultStoreDir,
  parseBaseName,
  parseStoreDir,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { topological } from './closure.ts';
import { each } from './each.ts';
import { foundIn, lackOf } from './plan.ts';
import { readNarInfos, readsAtOnce } from './read-cache.ts';

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
  /** What is left out since another cache has it. */
  readonly excluded: ReadonlySet<StorePath>;
  readonly conflicts: readonly Conflict[];
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

interface Addition {
  readonly path: StorePath;
  readonly signatures: readonly Signature[];
}

/** One path, two NARs. */
interface Conflict {
  readonly path: StorePath;
  readonly sourceHash: string;
  readonly targetHash: string;
}

export interface CopyWish {
  /** Store paths, base names or hash parts; without it, everything. */
  readonly roots?: readonly string[];
  /** Exactly the roots, whatever they refer to. */
  readonly noClosure: boolean;
  /** Caches whose paths are left out, if they have the same NAR. */
  readonly exclude: readonly Storage[];
  /** Paths that are left out. */
  readonly excludePaths: ReadonlySet<string>;
  /** Whose NAR is right, where both have one. */
  readonly prefer: 'nobody' | 'source';
}

/**
 * @throws GranaryError `absent` for a root or a reference that nobody has, `usage` for a source that cannot be listed
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
  const { infos, roots } = await readNarInfos(source, storeDir, {
    roots: wish.roots,
    alone: wish.noClosure,
    leaveOut: async info => {
      const isOut = await isExcluded(info, wish, storeDir);
      if (isOut) excluded.add(info.path);
      return isOut;
    },
  });

  const moves: Move[] = [];
  const additions: Addition[] = [];
  const conflicts: Conflict[] = [];
  const present = new Set<StorePath>();
  await each(infos.values(), readsAtOnce(target), async info => {
    const found = await there(info.path);
    const isOther = typeof found === 'object' && found.path === info.path;
    if (isOther && found.narHash !== info.narHash && wish.prefer === 'nobody') {
      const { path, narHash } = info;
      conflicts.push({ path, sourceHash: narHash, targetHash: found.narHash });
      present.add(path); // it stays, and may be referred to
      return;
    }
    const lack = await lackOf(info, found, target, false);
    const isSame = typeof found === 'object' && fingerprint(found) === fingerprint(info);
    const kept = isSame ? found.signatures : [];
    if (lack !== undefined) {
      moves.push({ info, kept, ...(found === undefined ? {} : { again: lack }) });
      return;
    }
    present.add(info.path);
    const missing = info.signatures.filter(signature => !kept.includes(signature));
    if (isSame && missing.length > 0) additions.push({ path: info.path, signatures: missing });
  });
  await addReferred(infos, { present, excluded }, { source, there, wish, storeDir });
  const order = new Map([...topological(infos)].map(({ path }, at) => [path, at]));
  moves.sort((a, b) => order.get(a.info.path)! - order.get(b.info.path)!);
  const sum = (size: (info: NarInfo) => number): number =>
    moves.reduce((total, { info }) => total + size(info), 0);
  return {
    storeDir,
    roots,
    moves,
    additions,
    present,
    excluded,
    conflicts,
    narBytes: sum(({ narSize }) => narSize),
    fileBytes: sum(({ file }) => file.fileSize ?? 0),
  };
}

async function isExcluded(info: NarInfo, wish: CopyWish, storeDir: StoreDir): Promise<boolean> {
  if (wish.excludePaths.has(baseName(info.path))) return true;
  for (const cache of wish.exclude) {
    const other = await readNarInfo(cache, info.path, storeDir);
    if (other?.path === info.path && other.narHash === info.narHash) return true;
  }
  return false;
}

interface Places {
  readonly source: Storage;
  readonly there: (path: StorePath) => Promise<NarInfo | string | undefined>;
  readonly wish: CopyWish;
  readonly storeDir: StoreDir;
}

/** What is referred to and does not move has to be in the target, or in a cache that is left out. */
async function addReferred(
  infos: ReadonlyMap<StorePath, NarInfo>,
  { present, excluded }: { readonly present: Set<StorePath>; readonly excluded: Set<StorePath> },
  { source, there, wish, storeDir }: Places,
): Promise<void> {
  const asked = new Set<StorePath>();
  for (const { path, references } of infos.values())
    for (const reference of references) {
      if (infos.has(reference) || present.has(reference) || excluded.has(reference)) continue;
      if (asked.has(reference)) continue;
      asked.add(reference);
      const found = await there(reference);
      if (typeof found === 'object' && found.path === reference) present.add(reference);
      else if (await isElsewhere(reference, wish, storeDir)) excluded.add(reference);
      else
        throw new GranaryError(
          'absent',
          `Cannot copy ${path} from ${source.url}: it refers to ${reference}, which is neither there nor in the target; name a cache that has it by --exclude`,
          { path: reference, referrer: path },
        );
    }
}

async function isElsewhere(path: StorePath, wish: CopyWish, storeDir: StoreDir): Promise<boolean> {
  if (wish.excludePaths.has(baseName(path))) return true;
  for (const cache of wish.exclude)
    if ((await readNarInfo(cache, path, storeDir))?.path === path) return true;
  return false;
}

/** The base names in a list of store paths, one a line; blank lines and such with # are passed over. */
export function parsePathList(text: string, storeDir: StoreDir, file: string): Set<string> {
  const names = new Set<string>();
  for (const [at, line] of text.split('\n').entries()) {
    const name = line.trim().replace(/^.*\//, '');
    if (name === '' || name.startsWith('#')) continue;
    try {
      names.add(baseName(parseBaseName(name, storeDir)));
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      throw new GranaryError(
        'malformed',
        `Cannot read line ${at + 1} of ${file} as a store path: ${error.message}`,
        { file, line: at + 1 },
      );
    }
  }
  return names;
}
