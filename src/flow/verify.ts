/**
 * Proves a cache, or says all that is wrong with it, reading each file once:
 *
 *     inventory ─▶ frame ─▶ narinfos ─▶ what they say of each other ─▶ every NAR file ─▶ side files
 *
 * Where nothing can be listed there is no inventory: what the closures of the roots name is asked for by name, and what
 * belongs to none of them is not looked for.
 *
 * Nothing that a cache holds stops it: whatever it is, it is a finding and not an error.
 */
import { statedStoreDir } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { PublicKey } from '../format/key.ts';
import { type BareInfo, narInfoKey } from '../format/narinfo.ts';
import {
  defaultStoreDir,
  parseStoreDir,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import { isKey, type Storage, type Thing } from '../storage/storage.ts';
import { CheckPool } from './check-pool.ts';
import { closedByKey, readClosedBy } from './closed-by.ts';
import { topological } from './closure.ts';
import { readDebugLinks } from './debug-links.ts';
import { type Finding, finding } from './findings.ts';
import { addNamedThings, frameThings } from './named-things.ts';
import { narrationsIn, readNarInfos } from './narration.ts';
import { type CheckProgress, checkFiles, listingFindings } from './verify-files.ts';
import { fileFindings } from './verify-narinfo.ts';
import { frameFindings, sideFindings } from './verify-sides.ts';

export interface VerifyOptions {
  /** Reads no NAR file. */
  readonly quick: boolean;
  /** Each path has to have `sigsNeeded` signatures by these, unless its content address proves it. */
  readonly keys: readonly PublicKey[];
  readonly sigsNeeded: number;
  /** Other caches that may have what is referred to and not here. */
  readonly also?: readonly Storage[];
  /** Only the closures of these; without it, everything. */
  readonly roots?: readonly string[];
  readonly jobs: number;
  readonly report: (event: Finding | VerifyProgress) => void;
}

export interface VerifyProgress {
  readonly progress: CheckProgress;
}

export interface Verdict {
  /** What the paths begin with. */
  readonly storeDir: StoreDir;
  /** All that lies in the storage, by key; what was asked for, where it cannot be listed. */
  readonly things: ReadonlyMap<string, Thing>;
  /** What was verified, by key; without their texts. */
  readonly infos: ReadonlyMap<string, BareInfo>;
  readonly totals: VerifyTotals;
}

interface VerifyTotals {
  readonly narInfos: number;
  readonly narFiles: number;
  /** Bytes of NAR that were read and hashed. */
  readonly narBytes: number;
  readonly damage: number;
  readonly warnings: number;
}

/** @throws GranaryError `absent` for a root that the cache lacks, `usage` for a storage that cannot be listed and no roots */
export async function verify(storage: Storage, options: VerifyOptions): Promise<Verdict> {
  const { quick, keys, sigsNeeded, also = [], roots, jobs, report } = options;
  const tally = { damage: 0, warning: 0 };
  const tell = (found: Finding): void => {
    tally[found.severity] += 1;
    report(found);
  };
  const isListed = storage.inventory !== undefined;
  if (!isListed && !roots) throw noRoots(storage);
  const things = isListed ? await inventoryOf(storage) : await frameThings(storage);
  const storeDir = await storeDirFor(storage, things);
  await using pool = new CheckPool();
  if (!quick && !roots && storage.local) pool.startFor(bytesIn(things), jobs);
  const expected = { storeDir, keys, sigsNeeded };
  const narrated = await readNarInfos({ storage, things, expected, roots }, { jobs, pool });
  const { infos } = narrated;

  for await (const found of frameFindings(storage, things)) tell(found);
  for (const found of narrated.findings) tell(found);
  // Where a narinfo is not in its place, no Nix asks for it.
  const placed = where(infos, (key, { path }) => key === narInfoKey(path));
  if (isListed) await addLateFiles(things, placed, storage);
  else for (const found of await addNamedThings(things, placed, storage)) tell(found);
  const follows = storage.follow !== undefined;
  for (const [key, info] of placed) {
    for (const found of fileFindings(key, info, { things, follows })) tell(found);
    if (quick || things.get(info.file.url)?.kind !== 'value')
      for await (const found of listingFindings(storage, things, info)) tell(found);
  }
  const closedBy = things.get(closedByKey)?.kind === 'value' ? await readClosedBy(storage) : [];
  const elsewhere = { isThere: lookup(also, storeDir), closedBy };
  for await (const found of holeFindings(placed, infos, elsewhere)) tell(found);
  for (const found of circleFindings(placed)) tell(found);
  if (placed.size < infos.size) for (const found of conflictFindings(infos)) tell(found);

  const links = roots ? new Map() : await readDebugLinks(storage, things, tell);
  const progress = (progress: CheckProgress): void => report({ progress });
  const read = quick
    ? { narFiles: 0, narBytes: 0 }
    : await checkFiles({ storage, things, infos: placed, links }, { jobs, pool, tell, progress });
  if (!roots) for (const found of sideFindings(things, narrated)) tell(found);
  const totals = {
    narInfos: infos.size,
    ...read,
    damage: tally.damage,
    warnings: tally.warning,
  };
  return { storeDir, things, infos, totals };
}

function bytesIn(things: ReadonlyMap<string, Thing>): number {
  let bytes = 0;
  for (const { size } of things.values()) bytes += size;
  return bytes;
}

/** Those for which it holds: the very same map, where it holds for all. */
function where<T>(
  all: ReadonlyMap<string, T>,
  holds: (key: string, value: T) => boolean,
): ReadonlyMap<string, T> {
  let others = 0;
  for (const [key, value] of all) if (!holds(key, value)) others += 1;
  return others === 0 ? all : new Map([...all].filter(([key, value]) => holds(key, value)));
}

/** A writer may have put a NAR after we looked, and then named it in a narinfo that we read. */
async function addLateFiles(
  things: Map<string, Thing>,
  infos: ReadonlyMap<string, BareInfo>,
  storage: Storage,
): Promise<void> {
  for (const { file } of infos.values()) {
    const { url } = file;
    if (things.has(url) || !isKey(url) || !isInFolders(url, things)) continue;
    const late = await storage.head(url);
    if (late) things.set(url, { key: url, kind: 'value', size: late.size });
  }
}

/** Whether all that it lies in is a folder, and no link. */
function isInFolders(key: string, things: ReadonlyMap<string, Thing>): boolean {
  const folders = key.split('/').slice(0, -1);
  return folders.every((_, at) => {
    const kind = things.get(folders.slice(0, at + 1).join('/'))?.kind;
    return kind === 'folder' || kind === 'empty folder';
  });
}

async function inventoryOf(storage: Storage): Promise<Map<string, Thing>> {
  const things = new Map<string, Thing>();
  for await (const thing of storage.inventory!()) things.set(thing.key, thing);
  return things;
}

const noRoots = ({ url }: Storage): GranaryError =>
  new GranaryError(
    'usage',
    `Cannot verify all of ${url}: what lies there cannot be listed; name ROOTs, whose closures are verified, or the folder that it is served from`,
  );

/** What the cache says its paths begin with, if that can be; no link is followed. */
async function storeDirFor(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
): Promise<StoreDir> {
  const names = [...things.values()].filter(({ kind }) => kind === 'value').map(({ key }) => key);
  try {
    return parseStoreDir((await statedStoreDir(storage, names)) ?? defaultStoreDir);
  } catch (error) {
    if (error instanceof GranaryError) return defaultStoreDir;
    throw error;
  }
}

/** Whether one of the other caches has a path; each is asked for once. */
function lookup(
  also: readonly Storage[],
  storeDir: StoreDir,
): (path: StorePath) => Promise<boolean> {
  const answers = new Map<StorePath, boolean>();
  return async path => {
    const known = answers.get(path);
    if (known !== undefined) return known;
    let found = false;
    for (const cache of also) found ||= await hasPath(cache, path, storeDir);
    answers.set(path, found);
    return found;
  };
}

/** @throws GranaryError `unavailable` where that cannot be asked: it is no reason to call the path missing */
async function hasPath(storage: Storage, path: StorePath, storeDir: StoreDir): Promise<boolean> {
  const key = narInfoKey(path);
  const [found] = await narrationsIn(storage, [key], { storeDir, keys: [], sigsNeeded: 0 });
  const unread = found?.findings.find(({ id }) => id === 'unreadable');
  if (!unread) return found?.info?.path === path;
  const message = `Cannot ask ${storage.url} for ${path}: ${unread.message}`;
  throw new GranaryError('unavailable', message, { path });
}

/** Law 2: every reference has a narinfo, here or in a cache that closes this one. A hole is one finding. */
async function* holeFindings(
  infos: ReadonlyMap<string, BareInfo>,
  all: ReadonlyMap<string, BareInfo>,
  {
    isThere,
    closedBy,
  }: { isThere: (path: StorePath) => Promise<boolean>; closedBy: readonly string[] },
): AsyncGenerator<Finding> {
  const holes = new Map<StorePath, { readonly first: StorePath; others: number }>();
  for (const { path, references } of infos.values())
    for (const reference of references) {
      if (reference === path || all.get(narInfoKey(reference))?.path === reference) continue;
      const hole = holes.get(reference);
      if (hole) hole.others += 1;
      else holes.set(reference, { first: path, others: 0 });
    }
  for (const [path, { first, others }] of holes) {
    if (await isThere(path)) continue;
    const who = others === 0 ? `${first} refers` : `${first} and ${others} more refer`;
    const hint = closedBy.length === 0 ? '' : `; ${closedByKey} names ${closedBy.join(', ')}`;
    const message = `${path} has no narinfo that can be used, and ${who} to it${hint}`;
    yield finding('reference-missing', narInfoKey(path), message, path);
  }
}

/** Paths that refer to each other in a circle: no Nix can say which to install first. */
function* circleFindings(infos: ReadonlyMap<string, BareInfo>): Generator<Finding> {
  const next = new Map<StorePath, StorePath>();
  const byPath = new Map<StorePath, BareInfo>();
  for (const info of infos.values()) byPath.set(info.path, info);
  topological(byPath, circle => {
    for (const [at, path] of circle.entries()) next.set(path, circle[at + 1] ?? circle[0]!);
  });
  for (const [path, reference] of next) {
    const message = `${path} refers to ${reference}, which refers back to it, if by way of others`;
    yield finding('reference-circle', narInfoKey(path), message, path);
  }
}

/** One path, two NARs: only one of them can be what somebody signed. */
function* conflictFindings(infos: ReadonlyMap<string, BareInfo>): Generator<Finding> {
  const seen = new Map<StorePath, { key: string; info: BareInfo }>();
  for (const [key, info] of infos) {
    const other = seen.get(info.path);
    if (other && other.info.narHash !== info.narHash) {
      const message = `${other.key} and ${key} are both of ${info.path}, and state different NAR hashes`;
      yield finding('nar-hash-conflict', key, message, info.path);
    }
    seen.set(info.path, { key, info });
  }
}
