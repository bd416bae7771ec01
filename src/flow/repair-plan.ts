/** What `repair` is going to do: what is broken, and who has it whole. A value; nothing is written. */
import { cacheInfoKey, listingKey, readNarInfo, readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { soundCacheInfo, withCacheInfo } from '../format/cache-info.ts';
import { algorithmOf } from '../format/hash.ts';
import { type BareInfo, type NarInfo, narInfoKey } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { hashPart, parseBaseName, type StoreDir, type StorePath } from '../format/store-path.ts';
import type { Storage, Thing } from '../storage/storage.ts';
import type { Store } from '../store/store.ts';
import type { Finding, FindingId } from './findings.ts';
import { type Verdict, type VerifyProgress, verify } from './verify.ts';

/** Where a replacement can come from: a Nix store, or another cache. */
export type RepairSource = { readonly store: Store } | { readonly cache: Storage };

/** A path that one source has. */
export type Offer =
  | { readonly info: PathInfo; readonly store: Store }
  | { readonly info: NarInfo; readonly cache: Storage };

export interface RepairPlan {
  readonly storeDir: StoreDir;
  /** All narinfos that can be read, by key. */
  readonly narInfos: ReadonlyMap<string, BareInfo>;
  /** Those of them that are where they belong, sound or not, by path. */
  readonly infos: ReadonlyMap<StorePath, BareInfo>;
  /** Those of what is broken, whole. */
  readonly old: ReadonlyMap<StorePath, NarInfo>;
  /** Paths to put in anew, each with who has it, the preferred first. */
  readonly heal: ReadonlyMap<StorePath, readonly Offer[]>;
  /** Hash parts of what is broken or missing and nobody has. */
  readonly lost: readonly string[];
  /** Hash parts of what could not be read, and so may be whole. */
  readonly unread: ReadonlySet<string>;
  /** Why a source that has a path is of no use for it. */
  readonly refused: readonly GranaryError[];
  /** Listings that the paths to heal have, by key. */
  readonly listings: ReadonlySet<string>;
  /** What nix-cache-info should say, if it does not, and the folders that need a placeholder. */
  readonly frame: { readonly cacheInfo?: string; readonly folders: readonly string[] };
  /** Files that are of no use to anybody, the latter kind once the path is healed. */
  readonly remove: readonly { readonly key: string; readonly once?: StorePath }[];
  /** Files that were there, by key; no folders. */
  readonly present: ReadonlySet<string>;
  /** Links and pipes in the places of files that are put in anew: they go, if the file comes to lie elsewhere. */
  readonly husks: ReadonlySet<string>;
  /** Damage that nothing here can mend: a person has to look at it. */
  readonly others: readonly Finding[];
  readonly findings: readonly Finding[];
}

interface PlanOptions {
  /** Only the closures of these; without it, everything. Whatever belongs to none of them stays. */
  readonly roots?: readonly string[] | undefined;
  /** Checking threads. */
  readonly jobs: number;
  readonly report: (event: VerifyProgress) => void;
}

/** Mended by describing anew what is there: the NAR is what the narinfo says. */
const mildIds: ReadonlySet<FindingId> = new Set<FindingId>([
  'narinfo-read-otherwise',
  'file-size-unstated',
]);
/** About a narinfo where no Nix asks for it. */
const copyIds: ReadonlySet<FindingId> = new Set<FindingId>([
  'narinfo-misnamed',
  'nar-hash-conflict',
]);

/** Verifies the cache, or those closures, and decides what to do. Writes nothing. */
export async function planRepair(
  storage: Storage,
  sources: readonly RepairSource[],
  { roots, jobs, report }: PlanOptions,
): Promise<RepairPlan> {
  let state = await examine(storage, { roots, jobs, report });
  for (let asked = roots; asked !== undefined; ) {
    const below = await unreadBelow(state, storage, sources, asked);
    if (below.length === 0) break;
    asked = [...asked, ...below];
    state = await examine(storage, { roots: asked, jobs, report });
  }
  const { verdict, findings, infos, broken, mild } = state;
  const { storeDir, things } = verdict;

  const old = new Map<StorePath, NarInfo>();
  const heal = new Map<StorePath, readonly Offer[]>();
  const lost: string[] = [];
  const refused: GranaryError[] = [];
  const unread = new Set(
    findings.filter(({ id }) => id === 'unreadable').flatMap(found => hashOf(found) ?? []),
  );
  const wanted = new Set([...broken, ...mild]);
  for (const hash of wanted) {
    const isThere = things.get(`${hash}.narinfo`)?.kind === 'value';
    const own = isThere ? await offerOf(hash, { cache: storage }, storeDir) : undefined;
    const offers: Offer[] = [];
    if (own instanceof GranaryError) {
      if (own.code === 'unavailable') unread.add(hash);
    } else if (own) {
      old.set(own.info.path, own.info as NarInfo);
      if (mild.has(hash)) offers.push(own);
    }
    for (const source of sources) {
      const offer = await offerOf(hash, source, storeDir);
      if (!(offer instanceof GranaryError)) offers.push(...(offer ? [offer] : []));
      else {
        refused.push(offer);
        if (offer.code === 'unavailable') unread.add(hash);
      }
    }
    const [first] = offers;
    if (first) heal.set(first.info.path, offers);
    else lost.push(hash);
    for (const reference of first?.info.references ?? [])
      if (!infos.has(reference)) wanted.add(hashPart(reference));
  }
  const cacheInfo = await cacheInfoFor(storage, findings, storeDir, things);
  const isMended = (key: string): boolean =>
    husks.has(key) || (key === cacheInfoKey && cacheInfo.cacheInfo !== undefined);
  const isAllThere = heal.size + lost.length + unread.size === 0;
  const urls = new Set([...heal.keys()].map(path => infos.get(path)?.file.url));
  const husks = new Set(
    findings.filter(({ id, key }) => id === 'not-a-file' && urls.has(key)).map(({ key }) => key),
  );
  const isListing = (key: string): boolean => things.has(key) && !isBlocked(key, things);
  return {
    storeDir,
    narInfos: verdict.infos,
    infos,
    old,
    heal,
    lost,
    unread,
    refused,
    listings: new Set([...heal.keys()].map(listingKey).filter(isListing)),
    frame: {
      ...cacheInfo,
      folders: findings
        .filter(({ id, key }) => /^folder-/.test(id) && !isBlocked(`${key}/KEEP`, things))
        .map(({ key }) => key),
    },
    remove: roots ? [] : findings.flatMap(found => uselessFile(found, infos, isAllThere)),
    present: new Set([...things.values()].filter(thing => !isFolder(thing)).map(({ key }) => key)),
    husks,
    others: findings.filter(
      found =>
        !isMended(found.key) &&
        (roots && copyIds.has(found.id)
          ? isMisplaced(found, wanted)
          : isOther(found, wanted, infos, things)),
    ),
    findings,
  };
}

/** What a check finds, and what has to be healed for it. */
interface Examined {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly infos: ReadonlyMap<StorePath, BareInfo>;
  /** Hash parts. */
  readonly broken: ReadonlySet<string>;
  readonly mild: ReadonlySet<string>;
}

async function examine(storage: Storage, { roots, jobs, report }: PlanOptions): Promise<Examined> {
  const findings: Finding[] = [];
  const verdict = await verify(storage, {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    ...(roots === undefined ? {} : { roots }),
    jobs,
    report: event => {
      if ('severity' in event) findings.push(event);
      else report(event);
    },
  });
  const infos = new Map<StorePath, BareInfo>();
  for (const [key, info] of verdict.infos)
    if (key === narInfoKey(info.path)) infos.set(info.path, info);
  const told = roots ? withoutCopies(findings) : findings;
  return { verdict, findings, infos, ...ailing(told, infos, verdict.things) };
}

/**
 * What a broken narinfo would have led to, and the cache has: of some closures it was not read, and may be whole. Who has
 * the broken path whole says what that is.
 */
async function unreadBelow(
  { verdict, infos, broken }: Examined,
  storage: Storage,
  sources: readonly RepairSource[],
  asked: readonly string[],
): Promise<readonly string[]> {
  const below = new Set<string>(); // hash parts: what lies there may be another's narinfo, which is to be found
  for (const hash of broken)
    for (const source of sources) {
      const offer = await offerOf(hash, source, verdict.storeDir);
      if (!offer || offer instanceof GranaryError) continue;
      for (const path of offer.info.references)
        if (!infos.has(path) && !broken.has(hashPart(path)) && !asked.includes(hashPart(path)))
          if (await storage.head(narInfoKey(path))) below.add(hashPart(path));
      break; // the next would say the same
    }
  return [...below];
}

/** Of a narinfo in another's place nobody who reads some closures alone can say whether its path is there. */
const withoutCopies = (findings: readonly Finding[]): readonly Finding[] =>
  findings.filter(({ id }) => !copyIds.has(id));

/** Whether one stays where it is of no use: nothing is put over it. */
const isMisplaced = ({ id, key }: Finding, wanted: ReadonlySet<string>): boolean =>
  id === 'narinfo-misnamed' && !wanted.has(key.replace(/\.narinfo$/, ''));

async function cacheInfoFor(
  storage: Storage,
  findings: readonly Finding[],
  storeDir: StoreDir,
  things: Things,
): Promise<{ readonly cacheInfo?: string }> {
  const found = findings.find(({ id }) => id.startsWith('cache-info-'));
  if (!found || isBlocked(cacheInfoKey, things)) return {};
  const old = found.id === 'cache-info-malformed' ? await readText(storage, cacheInfoKey) : '';
  return { cacheInfo: withCacheInfo(soundCacheInfo(old ?? '', storeDir), { storeDir }) };
}

type Things = ReadonlyMap<string, Thing>;

interface Ailing {
  /** Hash parts of what has to come from elsewhere. */
  readonly broken: ReadonlySet<string>;
  /** And of what is itself there, and only has to be described anew. */
  readonly mild: ReadonlySet<string>;
}

function ailing(findings: readonly Finding[], infos: RepairPlan['infos'], things: Things): Ailing {
  const broken = new Set<string>();
  const mild = new Set<string>();
  const mildly: StorePath[] = [];
  const paths = new Map([...infos.keys()].map(path => [hashPart(path), path]));
  for (const found of findings) {
    const hash = hashOf(found);
    if (hash === undefined || isBlocked(found.key, things) || isBlocked('nar/x', things)) continue;
    const path = paths.get(hash);
    if (mildIds.has(found.id) || found.key.endsWith('.ls')) {
      if (path && found.id !== 'listing-orphan') mildly.push(path);
    } else if (found.severity === 'damage' && !(copyIds.has(found.id) && path)) broken.add(hash);
  }
  for (const path of mildly) {
    const info = infos.get(path)!;
    if (!broken.has(hashPart(path)) && algorithmOf(info.narHash) === 'sha256')
      mild.add(hashPart(path));
  }
  return { broken, mild };
}

const isFolder = (thing: Thing | undefined): boolean => thing?.kind.endsWith('folder') ?? false;

/** Whether no file can be put there: a folder is in its place, or something else in that of its folder. */
function isBlocked(key: string, things: Things): boolean {
  if (isFolder(things.get(key))) return true;
  const parent = things.get(key.replace(/\/?[^/]*$/, ''));
  return parent !== undefined && (!isFolder(parent) || parent.kind === 'closed folder');
}

/** Hash part of the path that a finding is about. */
function hashOf({ path, key }: Finding): string | undefined {
  if (path !== undefined) return hashPart(path);
  return /^([0-9abcdfghijklmnpqrsvwxyz]{32})\.(narinfo|ls)$/.exec(key)?.[1];
}

/** A narinfo where no Nix asks for it, of a path that is or will be there; a link to nowhere that is to stay so. */
function uselessFile(
  { id, key, path }: Finding,
  infos: RepairPlan['infos'],
  isAllThere: boolean,
): RepairPlan['remove'] {
  if (id === 'debuginfo-wrong') return isAllThere ? [{ key }] : [];
  if (id !== 'narinfo-misnamed') return [];
  return [infos.has(path!) ? { key } : { key, once: path! }];
}

function isOther(
  found: Finding,
  wanted: ReadonlySet<string>,
  infos: RepairPlan['infos'],
  things: Things,
): boolean {
  if (found.severity !== 'damage') return false;
  if (found.id === 'folder-missing') return isBlocked(`${found.key}/KEEP`, things);
  if (copyIds.has(found.id) && infos.has(found.path!)) return false;
  return !wanted.has(hashOf(found) ?? '');
}

/** What a source has under a hash part, or why what it has cannot be used. */
async function offerOf(
  hash: string,
  source: RepairSource,
  storeDir: StoreDir,
): Promise<Offer | GranaryError | undefined> {
  if ('store' in source) {
    const info = await source.store.byHashPart(hash);
    return info && { info, store: source.store };
  }
  const { cache } = source;
  try {
    const info = await readNarInfo(cache, parseBaseName(`${hash}-x`, storeDir), storeDir);
    return info && hashPart(info.path) === hash ? { info, cache } : undefined;
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const message = `Cannot take ${hash}.narinfo from ${cache.url}: ${error.message}`;
    return new GranaryError(error.code, message, error.facts, error);
  }
}
