/**
 * Proves a cache, or says all that is wrong with it, reading each file once:
 *
 *     inventory ─▶ frame ─▶ narinfos ─▶ what they say of each other ─▶ every NAR file ─▶ side files
 *
 * Nothing that a cache holds stops it: whatever it is, it is a finding and not an error.
 */
import { statedStoreDir } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { PublicKey } from '../format/key.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import {
  baseName,
  defaultStoreDir,
  parseStoreDir,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import type { Storage, Thing } from '../storage/storage.ts';
import { CheckPool } from './check-pool.ts';
import { topological } from './closure.ts';
import { readDebugLinks } from './debug-links.ts';
import { type Finding, finding } from './findings.ts';
import { infoKeeper } from './kept-infos.ts';
import { type CheckProgress, checkFiles, listingFindings } from './verify-files.ts';
import { fileFindings, readNarInfoText, readSide } from './verify-narinfo.ts';
import { frameFindings, sideFindings } from './verify-sides.ts';
import { checkSignatures } from './verify-signatures.ts';

export interface VerifyOptions {
  /** Reads no NAR file. */
  readonly quick: boolean;
  /** Each path has to have `sigsNeeded` signatures by these, unless its content address proves it. */
  readonly keys: readonly PublicKey[];
  readonly sigsNeeded: number;
  /** Another cache that may have what is referred to and not here. */
  readonly also?: Storage;
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
  /** All that lies in the storage, by key. */
  readonly things: ReadonlyMap<string, Thing>;
  /** What was verified, by key; without their texts. */
  readonly infos: ReadonlyMap<string, NarInfo>;
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

/** @throws GranaryError `absent` for a root that the cache lacks, `usage` for a storage that cannot be listed */
export async function verify(storage: Storage, options: VerifyOptions): Promise<Verdict> {
  const { quick, keys, sigsNeeded, also, roots, jobs, report } = options;
  const tally = { damage: 0, warning: 0 };
  const tell = (found: Finding): void => {
    tally[found.severity] += 1;
    report(found);
  };
  const things = await inventoryOf(storage);
  const storeDir = await storeDirFor(storage, things);
  const narrated = await readNarInfos(storage, things, storeDir);
  const chosen = roots && closureIn(narrated, roots, storage.url);
  const infos = where(narrated.infos, key => chosen?.has(key) ?? true);

  for await (const found of frameFindings(storage, things)) tell(found);
  for (const [key, own] of narrated.findings)
    if (chosen?.has(key) ?? true) for (const found of own) tell(found);
  // Where a narinfo is not in its place, no Nix asks for it.
  const placed = where(infos, (key, { path }) => key === narInfoKey(path));
  for (const [key, info] of placed) {
    for (const found of fileFindings(key, info, things)) tell(found);
    if (quick || things.get(info.file.url)?.kind !== 'value')
      for await (const found of listingFindings(storage, things, info)) tell(found);
  }
  await using pool = new CheckPool();
  if (keys.length > 0) await checkSignatures(placed, { keys, sigsNeeded, jobs, pool, tell });
  for await (const found of holeFindings(placed, narrated.infos, lookup(also, storeDir)))
    tell(found);
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

/** Those for which it holds: the very same map, where it holds for all. */
function where<T>(
  all: ReadonlyMap<string, T>,
  holds: (key: string, value: T) => boolean,
): ReadonlyMap<string, T> {
  let others = 0;
  for (const [key, value] of all) if (!holds(key, value)) others += 1;
  return others === 0 ? all : new Map([...all].filter(([key, value]) => holds(key, value)));
}

async function inventoryOf(storage: Storage): Promise<ReadonlyMap<string, Thing>> {
  if (!storage.inventory)
    throw new GranaryError(
      'usage',
      `Cannot verify ${storage.url}: what lies there cannot be listed`,
    );
  const things = new Map<string, Thing>();
  for await (const thing of storage.inventory()) things.set(thing.key, thing);
  return things;
}

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

/** All that the narinfos of a cache say. */
interface Narrated {
  readonly infos: ReadonlyMap<string, NarInfo>;
  /** What is wrong with each by itself; a narinfo that is here and not in `infos` cannot be read. */
  readonly findings: ReadonlyMap<string, readonly Finding[]>;
  /** Files that narinfos name which cannot be read. */
  readonly claimed: ReadonlySet<string>;
}

async function readNarInfos(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  storeDir: StoreDir,
): Promise<Narrated> {
  const infos = new Map<string, NarInfo>();
  const findings = new Map<string, readonly Finding[]>();
  const claimed = new Set<string>();
  const kept = infoKeeper(things);
  for (const { key, kind } of things.values()) {
    if (kind !== 'value' || !/^[^/]+\.narinfo$/.test(key)) continue;
    const text = await readSide(storage, key);
    if (text === undefined) continue; // it went while we looked
    if (typeof text !== 'string') {
      findings.set(key, [text]);
      continue;
    }
    const { info, findings: own } = readNarInfoText(key, text, storeDir);
    if (own.length > 0) findings.set(key, own);
    if (info) infos.set(key, kept(info));
    const url = info ? undefined : /^URL: (.*)$/m.exec(text)?.[1];
    if (url !== undefined) claimed.add(url.trimEnd());
  }
  return { infos, findings, claimed };
}

/** The keys of the closures of some roots, each named by store path, base name or hash part. */
function closureIn(
  { infos, findings }: Narrated,
  roots: readonly string[],
  url: string,
): ReadonlySet<string> {
  const wanted = new Set<string>();
  for (const root of roots) {
    const name = root.replace(/\/+$/, '').replace(/^.*\//, '');
    const key = `${name.slice(0, 32)}.narinfo`;
    const info = infos.get(key);
    const isIt = info ? name.length === 32 || name === baseName(info.path) : findings.has(key);
    if (!isIt)
      throw new GranaryError('absent', `Cannot find ${root} in the cache ${url}`, { path: root });
    wanted.add(key);
  }
  for (const key of wanted)
    for (const reference of infos.get(key)?.references ?? []) wanted.add(narInfoKey(reference));
  return wanted;
}

/** Whether the other cache has a path; each is asked for once. */
function lookup(
  also: Storage | undefined,
  storeDir: StoreDir,
): (path: StorePath) => Promise<boolean> {
  const known = new Map<StorePath, boolean>();
  return async path => {
    if (!also) return false;
    const found = known.get(path) ?? (await hasPath(also, path, storeDir));
    known.set(path, found);
    return found;
  };
}

async function hasPath(storage: Storage, path: StorePath, storeDir: StoreDir): Promise<boolean> {
  const key = narInfoKey(path);
  const text = await readSide(storage, key);
  return typeof text === 'string' && readNarInfoText(key, text, storeDir).info?.path === path;
}

/** Law 2: every reference has a narinfo, here or in the cache that closes this one. A hole is one finding. */
async function* holeFindings(
  infos: ReadonlyMap<string, NarInfo>,
  all: ReadonlyMap<string, NarInfo>,
  isElsewhere: (path: StorePath) => Promise<boolean>,
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
    if (await isElsewhere(path)) continue;
    const who = others === 0 ? `${first} refers` : `${first} and ${others} more refer`;
    const message = `${path} has no narinfo that can be used, and ${who} to it`;
    yield finding('reference-missing', narInfoKey(path), message, path);
  }
}

/** Paths that refer to each other in a circle: no Nix can say which to install first. */
function* circleFindings(infos: ReadonlyMap<string, NarInfo>): Generator<Finding> {
  const next = new Map<StorePath, StorePath>();
  const byPath = new Map<StorePath, NarInfo>();
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
function* conflictFindings(infos: ReadonlyMap<string, NarInfo>): Generator<Finding> {
  const seen = new Map<StorePath, { key: string; info: NarInfo }>();
  for (const [key, info] of infos) {
    const other = seen.get(info.path);
    if (other && other.info.narHash !== info.narHash) {
      const message = `${other.key} and ${key} are both of ${info.path}, and state different NAR hashes`;
      yield finding('nar-hash-conflict', key, message, info.path);
    }
    seen.set(info.path, { key, info });
  }
}
