/** What `repair` is going to do: what is broken, and who has it whole. A value; nothing is written. */
import { listingKey, readNarInfo } from '../cache/cache.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { hashPart, parseBaseName, type StoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import type { Store } from '../store/store.ts';
import type { Finding, FindingId } from './findings.ts';
import { type VerifyProgress, verify } from './verify.ts';

/** Where a replacement can come from: a Nix store, or another cache. */
export type RepairSource = { readonly store: Store } | { readonly cache: Storage };

/** A path that one source has. */
export type Offer =
  | { readonly info: PathInfo; readonly store: Store }
  | { readonly info: NarInfo; readonly cache: Storage };

export interface RepairPlan {
  readonly storeDir: StoreDir;
  /** What is sound, by key. */
  readonly sound: ReadonlyMap<string, NarInfo>;
  /** All narinfos that can be read, by key, sound or not. */
  readonly infos: ReadonlyMap<string, NarInfo>;
  /** Paths to put in anew, each with who has it, the preferred first. */
  readonly heal: ReadonlyMap<StorePath, readonly Offer[]>;
  /** Hash parts of what is broken or missing and nobody has. */
  readonly lost: readonly string[];
  /** Listings that the paths to heal have, by key. */
  readonly listings: ReadonlySet<string>;
  /** Whether nix-cache-info or a folder has to be made. */
  readonly frame: boolean;
  /** Keys that are of no use to anybody. */
  readonly remove: readonly string[];
  readonly findings: readonly Finding[];
}

interface PlanOptions {
  readonly storeDir: StoreDir;
  /** Checking threads. */
  readonly jobs: number;
  readonly report: (event: VerifyProgress) => void;
}

const frameIds: ReadonlySet<FindingId> = new Set<FindingId>([
  'cache-info-missing',
  'cache-info-malformed',
  'folder-missing',
  'folder-unkept',
]);
/** These are about a path that is itself sound. */
const otherIds: ReadonlySet<FindingId> = new Set<FindingId>([
  'reference-missing',
  'signature-wrong',
  'signature-missing',
  'narinfo-misnamed',
]);

/** Verifies the whole cache and decides what to do. Writes nothing. */
export async function planRepair(
  storage: Storage,
  sources: readonly RepairSource[],
  { storeDir, jobs, report }: PlanOptions,
): Promise<RepairPlan> {
  const findings: Finding[] = [];
  const { infos } = await verify(storage, {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    jobs,
    report: event => {
      if ('severity' in event) findings.push(event);
      else report(event);
    },
  });
  const broken = new Set(findings.flatMap(brokenHash));
  const sound = new Map(
    [...infos].filter(([key, { path }]) => key === narInfoKey(path) && !broken.has(hashPart(path))),
  );
  // A listing, or a copy under another name, is no reason to give up a path that is itself there.
  const grave = new Set(
    findings.filter(found => !found.id.startsWith('listing-')).flatMap(brokenHash),
  );
  const copied = findings
    .filter(({ id }) => id === 'narinfo-misnamed')
    .flatMap(({ path }) => path ?? []);
  const keeps = new Set([...broken].filter(hash => !grave.has(hash)));
  for (const path of copied) if (infos.has(narInfoKey(path))) keeps.add(hashPart(path));
  const wanted = new Set(broken);
  for (const info of sound.values()) for (const hash of missing(info, sound)) wanted.add(hash);
  const heal = new Map<StorePath, Offer[]>();
  const lost: string[] = [];
  for (const hash of wanted) {
    const offers = await offersOf(hash, sources, storeDir);
    const [first] = offers;
    if (!first) {
      if (!keeps.has(hash)) lost.push(hash);
    } else {
      heal.set(first.info.path, offers);
      for (const next of missing(first.info, sound)) wanted.add(next);
    }
  }
  const listings = new Set<string>();
  for (const path of heal.keys())
    if (await storage.head(listingKey(path))) listings.add(listingKey(path));
  return {
    storeDir,
    listings,
    sound,
    infos,
    heal,
    lost,
    frame: findings.some(found => frameIds.has(found.id)),
    remove: findings.filter(found => isUseless(found, infos, heal.size > 0)).map(({ key }) => key),
    findings,
  };
}

/** A copy of a narinfo that is where it belongs; a link to nowhere, unless that may be healed now. */
function isUseless({ id, path }: Finding, infos: ReadonlyMap<string, NarInfo>, healing: boolean) {
  if (id === 'debuginfo-wrong') return !healing;
  return id === 'narinfo-misnamed' && path !== undefined && infos.has(narInfoKey(path));
}

/** Hash part of the path that a finding says is broken. */
function brokenHash({ id, severity, path, key }: Finding): string[] {
  if (severity !== 'damage' || otherIds.has(id)) return [];
  if (path !== undefined) return [hashPart(path)];
  const hash = /^([0-9abcdfghijklmnpqrsvwxyz]{32})\.(narinfo|ls)$/.exec(key)?.[1];
  return hash === undefined ? [] : [hash];
}

const missing = (info: PathInfo, sound: ReadonlyMap<string, NarInfo>): string[] =>
  info.references
    .filter(reference => reference !== info.path && !sound.has(narInfoKey(reference)))
    .map(hashPart);

async function offersOf(
  hash: string,
  sources: readonly RepairSource[],
  storeDir: StoreDir,
): Promise<Offer[]> {
  const offers: Offer[] = [];
  for (const source of sources) {
    if ('store' in source) {
      const info = await source.store.byHashPart(hash);
      if (info) offers.push({ info, store: source.store });
    } else {
      const anyName = parseBaseName(`${hash}-x`, storeDir);
      const info = await readNarInfo(source.cache, anyName, storeDir).catch(() => undefined);
      if (info && hashPart(info.path) === hash) offers.push({ info, cache: source.cache });
    }
  }
  return offers;
}
