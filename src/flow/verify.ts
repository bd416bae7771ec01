/**
 * Proves a cache, or says all that is wrong with it, reading each file once:
 *
 *     inventory ─▶ frame ─▶ narinfos ─▶ what they say of each other ─▶ every NAR file ─▶ side files
 *
 * Nothing that a cache holds stops it: whatever it is, it is a finding and not an error.
 */
import { listingKey, readText, statedStoreDir } from '../cache/cache.ts';
import { checkNar, type NarFacts } from '../cache/nar-check.ts';
import { GranaryError } from '../errors.ts';
import type { PublicKey } from '../format/key.ts';
import { parseListing, printListing } from '../format/nar-listing.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import { defaultStoreDir, parseStoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage, Thing } from '../storage/storage.ts';
import { CheckPool } from './check-pool.ts';
import type { CheckResult } from './check-worker.ts';
import { each } from './each.ts';
import { type Finding, finding } from './findings.ts';
import { claimOf, narFindings } from './verify-nar.ts';
import { fileFindings, readNarInfoText, signatureFindings } from './verify-narinfo.ts';
import { frameFindings, sideFindings } from './verify-sides.ts';

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
  readonly progress: {
    readonly narBytes: number;
    readonly totalNarBytes: number;
    readonly paths: number;
    readonly totalPaths: number;
  };
}

export interface Verdict {
  /** What was verified, by key; without their texts. */
  readonly infos: ReadonlyMap<string, NarInfo>;
  readonly narInfos: number;
  readonly narFiles: number;
  /** Bytes of NAR that were read and hashed. */
  readonly narBytes: number;
  readonly damage: number;
  readonly warnings: number;
}

/** Small files go to a thread together. */
const groupFiles = 64;
const groupBytes = 1 << 20;

/** @throws GranaryError `absent` for a root that the cache lacks, `usage` for a storage that cannot be listed */
export async function verify(storage: Storage, options: VerifyOptions): Promise<Verdict> {
  const tally = { damage: 0, warning: 0 };
  const tell = (found: Finding): void => {
    tally[found.severity] += 1;
    options.report(found);
  };
  const things = await inventoryOf(storage);
  for await (const found of frameFindings(storage, things)) tell(found);
  const claimed = new Set<string>();
  const all = await readNarInfos(storage, things, claimed, tell);
  const infos = options.roots ? closureIn(all, options.roots, storage) : all;
  for (const info of infos.values()) {
    for (const found of fileFindings(info, things)) tell(found);
    if (options.keys.length > 0)
      for (const found of signatureFindings(info, options.keys, options.sigsNeeded)) tell(found);
  }
  for await (const found of holeFindings(infos, all, options.also)) tell(found);
  for (const found of conflictFindings(infos)) tell(found);
  const read = options.quick
    ? { narFiles: 0, narBytes: 0 }
    : await checkFiles(storage, things, infos, options, tell);
  if (!options.roots)
    for await (const found of sideFindings(storage, things, { infos: all, claimed })) tell(found);
  return { infos, narInfos: infos.size, ...read, damage: tally.damage, warnings: tally.warning };
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

async function readNarInfos(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  claimed: Set<string>,
  tell: (found: Finding) => void,
): Promise<ReadonlyMap<string, NarInfo>> {
  const storeDir = parseStoreDir((await statedStoreDir(storage)) ?? defaultStoreDir);
  const infos = new Map<string, NarInfo>();
  for (const { key, kind } of things.values()) {
    if (kind !== 'value' || !/^[^/]+\.narinfo$/.test(key)) continue;
    const text = await readText(storage, key);
    if (text === undefined) continue; // it went while we looked
    const { info, findings } = readNarInfoText(key, text, storeDir);
    for (const found of findings) tell(found);
    if (info) infos.set(key, info);
    const url = info?.file.url ?? /^URL: (.*)$/m.exec(text)?.[1];
    if (url !== undefined) claimed.add(url.trimEnd());
  }
  return infos;
}

/** The narinfos of the closures of some roots, each named by store path, base name or hash part. */
function closureIn(
  all: ReadonlyMap<string, NarInfo>,
  roots: readonly string[],
  storage: Storage,
): ReadonlyMap<string, NarInfo> {
  const wanted = new Set<string>();
  for (const root of roots) {
    const key = `${root.slice(root.lastIndexOf('/') + 1).slice(0, 32)}.narinfo`;
    if (!all.has(key))
      throw new GranaryError('absent', `Cannot find ${root} in the cache ${storage.url}`, {
        path: root,
      });
    wanted.add(key);
  }
  for (const key of wanted)
    for (const reference of all.get(key)?.references ?? []) wanted.add(narInfoKey(reference));
  return new Map([...all].filter(([key]) => wanted.has(key)));
}

/** Law 2: every reference has a narinfo, here or in the cache that closes this one. */
async function* holeFindings(
  infos: ReadonlyMap<string, NarInfo>,
  all: ReadonlyMap<string, NarInfo>,
  also: Storage | undefined,
): AsyncGenerator<Finding> {
  const referrers = new Map<StorePath, StorePath[]>();
  for (const { path, references } of infos.values())
    for (const reference of references) {
      if (reference === path || all.get(narInfoKey(reference))?.path === reference) continue;
      const others = referrers.get(reference);
      if (others) others.push(path);
      else referrers.set(reference, [path]);
    }
  for (const [hole, paths] of referrers) {
    const key = narInfoKey(hole);
    if (await also?.head(key)) continue;
    const who = paths.length === 1 ? paths[0] : `${paths.length} paths, such as ${paths[0]},`;
    const verb = paths.length === 1 ? 'refers' : 'refer';
    yield finding(
      'reference-missing',
      key,
      `${hole} has no narinfo, and ${who} ${verb} to it`,
      hole,
    );
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

interface NarFile {
  readonly url: string;
  readonly size: number;
  readonly infos: readonly NarInfo[];
}

async function checkFiles(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  infos: ReadonlyMap<string, NarInfo>,
  options: VerifyOptions,
  tell: (found: Finding) => void,
): Promise<{ narFiles: number; narBytes: number }> {
  const files = filesOf(things, infos);
  const totalNarBytes = files.reduce((sum, file) => sum + file.infos[0]!.narSize, 0);
  const totalPaths = infos.size;
  const done = { narBytes: 0, paths: 0 };
  const judge = async (file: NarFile, facts: NarFacts): Promise<void> => {
    for (const info of file.infos) {
      for (const found of narFindings(info, facts)) tell(found);
      for await (const found of listingFindings(storage, things, info, facts)) tell(found);
    }
    done.narBytes += file.infos[0]!.narSize;
    done.paths += file.infos.length;
    options.report({ progress: { ...done, totalNarBytes, totalPaths } });
  };
  const claim = (file: NarFile) =>
    claimOf(
      file.infos,
      file.infos.some(info => things.has(listingKey(info.path))),
    );

  if (storage.local) {
    const groups = [...grouped(files)];
    await using pool = new CheckPool(Math.max(1, Math.min(options.jobs, groups.length)));
    await each(groups, options.jobs, async group => {
      const tasks = group.map(file => ({ file: storage.local!(file.url), claim: claim(file) }));
      const results: readonly CheckResult[] = await pool.check(tasks);
      for (const [at, result] of results.entries()) {
        const file = group[at]!;
        if ('facts' in result) await judge(file, result.facts);
        else
          tell(
            finding('nar-missing', file.url, `${file.url} cannot be read: ${result.unreadable}`),
          );
      }
    });
  } else
    await each(files, options.jobs, async file => {
      const found = await storage.get(file.url);
      if (found) await judge(file, await checkNar(found.bytes, claim(file)));
    });
  return { narFiles: files.length, narBytes: done.narBytes };
}

/** The NAR files that are there, each with all narinfos that name it; the largest first. */
function filesOf(
  things: ReadonlyMap<string, Thing>,
  infos: ReadonlyMap<string, NarInfo>,
): NarFile[] {
  const byUrl = new Map<string, NarInfo[]>();
  for (const info of infos.values()) {
    const { url, compression } = info.file;
    if (things.get(url)?.kind !== 'value') continue;
    const key = `${compression} ${url}`; // one file under two labels is read as both
    byUrl.set(key, [...(byUrl.get(key) ?? []), info]);
  }
  return [...byUrl.values()]
    .map(list => ({
      url: list[0]!.file.url,
      size: things.get(list[0]!.file.url)!.size,
      infos: list,
    }))
    .sort((a, b) => b.size - a.size);
}

function* grouped(files: readonly NarFile[]): Generator<readonly NarFile[]> {
  let group: NarFile[] = [];
  let bytes = 0;
  for (const file of files) {
    group.push(file);
    bytes += file.size;
    if (group.length < groupFiles && bytes < groupBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

async function* listingFindings(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  info: NarInfo,
  facts: NarFacts,
): AsyncGenerator<Finding> {
  const key = listingKey(info.path);
  if (things.get(key)?.kind !== 'value') return;
  try {
    const stated = printListing(parseListing((await readText(storage, key)) ?? ''));
    if (facts.listing !== undefined && stated !== facts.listing)
      yield finding(
        'listing-wrong',
        key,
        `${key} does not list what the NAR of ${info.path} holds`,
        info.path,
      );
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    yield finding('listing-malformed', key, error.message, info.path);
  }
}
