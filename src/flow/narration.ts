/**
 * What the narinfos of a cache say: of all, or of some closures alone, so that these cost what they are and
 * not what the cache is.
 *
 * Threads read them where there are many: of 200 µs that one takes, a signature's check is 130.
 */
import { unreadNarInfo } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { type BareInfo, narInfoKey, parseNarInfo } from '../format/narinfo.ts';
import { baseName, type StoreDir } from '../format/store-path.ts';
import type { Storage, Thing } from '../storage/storage.ts';
import { cacheRoot, noRoot } from './cache-root.ts';
import { type CheckPool, rootOf } from './check-pool.ts';
import { each } from './each.ts';
import { type Finding, finding } from './findings.ts';
import { infoKeeper } from './kept-infos.ts';
import { readsAtOnce } from './read-cache.ts';
import { narInfoFindings, readSide } from './verify-narinfo.ts';
import { type Beliefs, signatureFindings } from './verify-signatures.ts';

/** What one narinfo says. */
export interface Narration {
  readonly key: string;
  /** Nothing for one that cannot be read. */
  readonly info?: BareInfo;
  /** The file that it names even if it cannot be read. */
  readonly claimed?: string;
  /** What is wrong with it by itself. */
  readonly findings: readonly Finding[];
}

/** What a narinfo is measured by. */
export interface Expected extends Beliefs {
  readonly storeDir: StoreDir;
}

/** Reads narinfos of which anything may be wrong; of those that went away, nothing. */
export async function narrationsIn(
  storage: Storage,
  keys: readonly string[],
  expected: Expected,
): Promise<readonly Narration[]> {
  const all: Narration[] = [];
  for (const key of keys) {
    const text = await readSide(storage, key);
    if (typeof text === 'string') all.push(narrationOf(key, text, expected));
    else if (text !== undefined) all.push({ key, findings: [text] });
  }
  return all;
}

function narrationOf(key: string, text: string, expected: Expected): Narration {
  const { storeDir } = expected;
  try {
    const whole = parseNarInfo(text, storeDir);
    const { signatures: _, text: __, ...info } = whole;
    const findings = [...narInfoFindings(key, text, info)];
    // Where a narinfo is not in its place, no Nix asks for it.
    if (key === narInfoKey(info.path)) findings.push(...signatureFindings(key, whole, expected));
    return { key, info, findings };
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const foreign = /^StorePath: (\/[^\n]*)\/[^/\n]+$/m.exec(text)?.[1];
    const id =
      foreign !== undefined && foreign !== storeDir ? 'narinfo-foreign' : 'narinfo-malformed';
    const message = unreadNarInfo(error, text, key);
    const url = /^URL: (.*)$/m.exec(text)?.[1];
    const claimed = url === undefined ? {} : { claimed: url.trimEnd() };
    return { key, ...claimed, findings: [finding(id, key, message)] };
  }
}

interface Wanted {
  readonly storage: Storage;
  /** Where nothing can be listed, those that are found are added. */
  readonly things: Map<string, Thing>;
  readonly expected: Expected;
  /** Only the closures of these, as `cacheRoot` reads them; without it, everything. */
  readonly roots?: readonly string[] | undefined;
}

interface Threads {
  readonly jobs: number;
  readonly pool: CheckPool;
}

/** All that the narinfos say. */
interface Narrated {
  /** By key. */
  readonly infos: ReadonlyMap<string, BareInfo>;
  readonly findings: readonly Finding[];
  /** Files that narinfos name which cannot be read. */
  readonly claimed: ReadonlySet<string>;
}

/** @throws GranaryError `absent` for a root that the cache lacks, `usage` for what is none */
export async function readNarInfos(wanted: Wanted, threads: Threads): Promise<Narrated> {
  const { storage, things, expected, roots } = wanted;
  const infos = new Map<string, BareInfo>();
  const findings: Finding[] = [];
  const claimed = new Set<string>();
  const kept = infoKeeper(things);
  const isListed = storage.inventory !== undefined;
  const take = (narration: Narration): void => {
    const { key } = narration;
    if (!isListed) things.set(key, { key, kind: 'value', size: 0 }); // nobody asks how big it is
    findings.push(...narration.findings);
    if (narration.claimed !== undefined) claimed.add(narration.claimed);
    if (narration.info) infos.set(key, kept(narration.info));
  };
  const isThere = (key: string): boolean => !isListed || things.get(key)?.kind === 'value';
  if (!roots) {
    const isNarInfo = (key: string): boolean => /^[^/]+\.narinfo$/.test(key) && isThere(key);
    await readAll([...things.keys()].filter(isNarInfo), wanted, threads, take);
    return { infos, findings, claimed };
  }
  const read = new Set<string>();
  const names = roots.map(root => cacheRoot(root, storage, expected.storeDir).name);
  let level = new Set(names.map(keyOf));
  for (let isFirst = true; level.size > 0; isFirst = false) {
    const fresh = [...level].filter(key => isThere(key) && !read.has(key));
    await readAll(fresh, wanted, threads, take);
    if (isFirst)
      for (const [at, name] of names.entries())
        if (!isThereAs(name, infos, findings)) throw noRoot(roots[at]!, storage);
    for (const key of fresh) read.add(key);
    const references = fresh.flatMap(key => infos.get(key)?.references ?? []);
    level = new Set(references.map(narInfoKey));
  }
  return { infos, findings, claimed };
}

/** Fewer are read by this thread before another has started. */
const fewestForThreads = 256;
/** An answer of more than these goes past the young generation, and peaks at twice the memory. */
const batchSize = 64;

/** Reads them on all cores, and takes them in order. */
async function readAll(
  keys: readonly string[],
  { storage, expected }: Wanted,
  { jobs, pool }: Threads,
  take: (narration: Narration) => void,
): Promise<void> {
  const root = keys.length > fewestForThreads ? rootOf(storage) : undefined;
  const { storeDir, sigsNeeded } = expected;
  const believed = expected.keys.map(({ text }) => text);
  const done = new Map<number, readonly Narration[]>();
  let next = 0;
  const [size, lanes] = storage.isFar ? [1, readsAtOnce(storage)] : [batchSize, jobs];
  await each(batchesOf(keys, size), lanes, async ([at, batch]) => {
    const read = root
      ? pool.narInfos({ root, keys: batch, storeDir, believed, sigsNeeded })
      : narrationsIn(storage, batch, expected).then(apart);
    done.set(at, await read);
    for (; done.has(next); next++) {
      done.get(next)!.forEach(take);
      done.delete(next);
    }
  });
}

function* batchesOf(
  keys: readonly string[],
  size: number,
): Generator<readonly [at: number, readonly string[]]> {
  for (let at = 0; at * size < keys.length; at++)
    yield [at, keys.slice(at * size, (at + 1) * size)];
}

/** A copy that shares nothing with the texts that its strings were cut from. */
const apart = <T>(value: T): T => JSON.parse(JSON.stringify(value));

const keyOf = (name: string): string => `${name.slice(0, 32)}.narinfo`;

/** Also a narinfo that cannot be read is there. */
function isThereAs(
  name: string,
  infos: ReadonlyMap<string, BareInfo>,
  findings: readonly Finding[],
): boolean {
  const key = keyOf(name);
  const info = infos.get(key);
  if (!info) return findings.some(found => found.key === key);
  return name.length === 32 || name === baseName(info.path);
}
