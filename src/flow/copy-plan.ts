/**
 * What `copy` is going to do between two caches. A value; nothing is written.
 *
 *     roots ─▶ narinfos of the source, by their references ─▶ what the target lacks, has otherwise, or may be left out
 */
import { inspectTarget, readNarInfo, readText, statedStoreDir } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { type NarInfo, narInfoKey, parseNarInfo } from '../format/narinfo.ts';
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

/** Requests at once, where each is a way to go. */
const farReads = 25;

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
  const { infos, excluded, roots } = await readSource(source, storeDir, wish);

  const moves: Move[] = [];
  const additions: Addition[] = [];
  const conflicts: Conflict[] = [];
  const present = new Set<StorePath>();
  await each(infos.values(), isNear(target) ? 1 : farReads, async info => {
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

const isNear = (storage: Storage): boolean => storage.local !== undefined;

interface Read {
  readonly infos: ReadonlyMap<StorePath, NarInfo>;
  readonly excluded: Set<StorePath>;
  readonly roots: readonly StorePath[];
}

/** The narinfos that are wanted: by their references from the roots, or all that can be listed. */
async function readSource(source: Storage, storeDir: StoreDir, wish: CopyWish): Promise<Read> {
  const infos = new Map<StorePath, NarInfo>();
  const excluded = new Set<StorePath>();
  const jobs = isNear(source) ? 1 : farReads;
  const seen = new Set<string>();
  const take = async (key: string, next: Set<string>): Promise<StorePath | undefined> => {
    const info = await sourceNarInfo(source, key, storeDir);
    const path = info?.path;
    if (!info) return undefined;
    if (await isExcluded(info, wish, storeDir)) excluded.add(info.path);
    else {
      infos.set(info.path, info);
      if (!wish.noClosure) for (const each of info.references) next.add(narInfoKey(each));
    }
    return path;
  };
  const names = wish.roots;
  const keys = names ? names.map(name => rootKey(name)) : await listed(source);
  const roots: StorePath[] = [];
  let level = new Set(keys);
  for (let isFirst = true; level.size > 0; isFirst = false) {
    const next = new Set<string>();
    const fresh = [...level].filter(key => !seen.has(key));
    for (const key of fresh) seen.add(key);
    await each(fresh, jobs, async key => {
      const path = await take(key, next);
      if (isFirst && path !== undefined) roots.push(path);
    });
    if (isFirst && names) for (const name of names) checkRoot(name, roots, source);
    level = next;
  }
  return { infos, excluded, roots: names ? roots : [] };
}

const rootName = (root: string): string => root.replace(/\/+$/, '').replace(/^.*\//, '');

function rootKey(root: string): string {
  const name = rootName(root);
  if (/^[0-9abcdfghijklmnpqrsvwxyz]{32}(-|$)/.test(name)) return `${name.slice(0, 32)}.narinfo`;
  throw new GranaryError(
    'usage',
    `Cannot find "${root}" in a cache: name a store path, its base name, or its hash part`,
  );
}

function checkRoot(root: string, found: readonly StorePath[], source: Storage): void {
  const name = rootName(root);
  const isIt = (path: StorePath): boolean =>
    name.length === 32 ? baseName(path).startsWith(name) : baseName(path) === name;
  if (found.some(isIt)) return;
  throw new GranaryError('absent', `Cannot find ${root} in the cache ${source.url}`, {
    path: root,
  });
}

async function listed(source: Storage): Promise<readonly string[]> {
  if (!source.list)
    throw new GranaryError(
      'usage',
      `Cannot copy all of ${source.url}: what lies there cannot be listed; name ROOTs`,
    );
  const keys: string[] = [];
  for await (const { key } of source.list('')) if (/^[^/]+\.narinfo$/.test(key)) keys.push(key);
  return keys.sort();
}

/** A narinfo of the source, which has to be in its place. */
async function sourceNarInfo(
  source: Storage,
  key: string,
  storeDir: StoreDir,
): Promise<NarInfo | undefined> {
  const text = await readText(source, key);
  if (text === undefined) return undefined;
  let info: NarInfo;
  try {
    info = parseNarInfo(text, storeDir);
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const message = `Cannot copy ${key} of ${source.url}: ${error.message}`;
    throw new GranaryError(error.code, message, { ...error.facts, key }, error);
  }
  if (narInfoKey(info.path) === key) return info;
  throw new GranaryError(
    'malformed',
    `Cannot copy ${key} of ${source.url}: it is the narinfo of ${info.path}`,
    { key },
  );
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
