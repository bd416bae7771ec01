/**
 * Heals a cache:
 *
 *     verify ─▶ what is broken ─▶ plan ─▶ pack from a store, or take from a cache ─▶ narinfos ─▶ removals
 *
 * A replacement is proven before the old goes, and goes in as `make` puts things in: NAR before narinfo,
 * references before referrers. What nobody can heal stays as it is, unless it is to be dropped: then with
 * all that refers to it, referrers first, so that clients ask their next cache instead of failing.
 */
import { cacheInfoEntry, folderEntry, folders, listingKey } from '../cache/cache.ts';
import { codecs, type WritableCompression } from '../cache/codec.ts';
import { GranaryError } from '../errors.ts';
import { narInfoKey } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint, type Signature } from '../format/signature.ts';
import { hashPart, type StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { topological } from './closure.ts';
import { narrationsIn } from './narration.ts';
import { packAll } from './pack-all.ts';
import type { Pack } from './plan.ts';
import { Publisher } from './publisher.ts';
import type { Offer, RepairPlan } from './repair-plan.ts';
import { takeAll } from './take.ts';
import type { VerifyProgress } from './verify.ts';

export interface RepairOptions {
  readonly jobs: number;
  /** Removes what nobody can heal, with all that refers to it. */
  readonly drop: boolean;
  readonly report: (event: VerifyProgress) => void;
}

export interface RepairSummary {
  readonly healed: readonly StorePath[];
  /** Keys that were removed, in this order. */
  readonly removed: readonly string[];
  /** Hash parts of what is still broken; where that was to be dropped, of what could not be read or had. */
  readonly lost: readonly string[];
  /** What was to be healed and could not be, and why. */
  readonly failed: ReadonlyMap<StorePath, GranaryError>;
}

/**
 * Carries out a plan. A cache that is whole is not touched.
 *
 * @throws GranaryError `usage` before anything is written, when what has to be removed cannot be; `conflict`
 * before anything is dropped, when somebody changed meanwhile what is to be
 */
export async function executeRepair(
  plan: RepairPlan,
  storage: Storage,
  options: RepairOptions,
): Promise<RepairSummary> {
  if (options.drop) refuseBlindDrop(plan, storage);
  const remover = removerOf(storage, options.drop || plan.remove.length + plan.husks.size > 0);
  await storage.sweep?.();
  await mendFrame(plan, storage);
  const failed = new Map<StorePath, GranaryError>();
  const unsure = new Set(plan.unread); // a disk that hiccups proves nothing
  const healed = new Set(await heal(plan, storage, options, failed, unsure));
  const ours = new Set([...healed].map(narInfoKey)); // put over what lay there
  for (const { key, once } of plan.remove)
    if (!ours.has(key) && (once === undefined || healed.has(once))) await remover.remove(key);
  for (const key of await stillHusks(plan, storage)) await remover.remove(key);
  const unhealed = [...plan.heal.keys()].filter(path => !healed.has(path));
  const lost = [...plan.lost, ...unhealed.map(hashPart)];
  const { removed } = remover;
  if (!options.drop) return { healed: [...healed], removed, lost, failed };
  const proven = lost.filter(hash => !unsure.has(hash));
  const dropped = dropOrder(plan, healed, proven);
  await refuseStaleDrop(plan, storage, new Set(dropped), healed);
  for (const key of dropped) await remover.remove(key);
  const gone = new Set(removed);
  const left = lost.filter(hash => !gone.has(`${hash}.narinfo`));
  return { healed: [...healed], removed, lost: left, failed };
}

/** Deletes, and keeps the keys of what it deleted. */
function removerOf(storage: Storage, isNeeded: boolean) {
  const removed: string[] = [];
  if (isNeeded && !storage.delete)
    throw new GranaryError('usage', `Cannot repair ${storage.url}: nothing can be deleted there`);
  const remove = async (key: string): Promise<void> => {
    await storage.delete!(key);
    removed.push(key);
  };
  return { removed, remove };
}

async function mendFrame({ frame }: RepairPlan, storage: Storage): Promise<void> {
  const cacheInfo = frame.cacheInfo === undefined ? [] : [cacheInfoEntry(frame.cacheInfo)];
  await storage.publish([...cacheInfo, ...frame.folders.map(folderEntry)]);
}

/** What of the plan's husks nothing was put over. */
async function stillHusks({ husks }: RepairPlan, storage: Storage): Promise<readonly string[]> {
  const left: string[] = [];
  if (husks.size > 0)
    for await (const { key, kind } of storage.inventory!())
      if (husks.has(key) && kind !== 'value') left.push(key);
  return left;
}

/** Tries the sources of each path in turn, until one is proven; gives what was published. */
async function heal(
  plan: RepairPlan,
  storage: Storage,
  options: RepairOptions,
  failed: Map<StorePath, GranaryError>,
  unsure: Set<string>,
): Promise<readonly StorePath[]> {
  const first = new Map([...plan.heal].map(([path, offers]) => [path, offers[0]!.info]));
  const present = new Set([...plan.infos.keys()].filter(path => !plan.heal.has(path)));
  using publisher = new Publisher(
    storage,
    topological(first, () => {}),
    present,
  );
  for (let turn = 0; ; turn++) {
    const left = [...plan.heal].filter(([path]) => turn === 0 || failed.has(path));
    const offers = left.flatMap(([, all]) => all.slice(turn, turn + 1));
    if (offers.length === 0) break;
    for (const { info } of offers) failed.delete(info.path);
    await fetchAll(offers, plan, { storage, publisher, failed, ...options });
    for (const [path, { code }] of failed) if (code === 'unavailable') unsure.add(hashPart(path));
  }
  await publisher.publish();
  // What is there and stays broken holds nothing up: its referrers would only be broken too.
  for (const path of failed.keys()) if (plan.infos.has(path)) publisher.stands(path);
  await publisher.publish();
  for (const { path, behind } of publisher.held()) {
    failed.set(path, heldBack(path, behind));
    if (unsure.has(hashPart(behind))) unsure.add(hashPart(path));
  }
  return [...plan.heal.keys()].filter(path => !failed.has(path));
}

const heldBack = (path: StorePath, reference: StorePath): GranaryError =>
  new GranaryError(
    'corrupt',
    `Cannot heal ${path}: it refers to ${reference}, which could not be healed`,
    {
      path,
      reference,
    },
  );

interface Target extends RepairOptions {
  readonly storage: Storage;
  readonly publisher: Publisher;
  readonly failed: Map<StorePath, GranaryError>;
}

/** Packs what stores offer, and takes what caches offer. */
async function fetchAll(offers: readonly Offer[], plan: RepairPlan, target: Target): Promise<void> {
  const totalNarBytes = offers.reduce((sum, { info }) => sum + info.narSize, 0);
  const total = { totalNarBytes, totalPaths: offers.length };
  for (const { compression, listings, packs } of byStyle(offers, plan))
    await packAll(packs, {
      ...target,
      compression,
      level: codecs[compression].levels?.usual ?? 0,
      listings,
      keys: [],
      report: event => {
        if (event.type === 'progress') target.report({ progress: { ...event, ...total } });
      },
    });
  const takes = offers.flatMap(offer => {
    if ('store' in offer) return [];
    const { info, cache: source } = offer;
    const listing = plan.listings.has(listingKey(info.path));
    return [{ info, source, listing, signatures: signaturesOf(info, plan) }];
  });
  await takeAll(takes, target);
}

interface Style {
  readonly compression: WritableCompression;
  readonly listings: boolean;
  readonly packs: Pack[];
}

/** What is packed alike, compressed as it was and with or without a listing, goes together. */
function byStyle(offers: readonly Offer[], plan: RepairPlan): Iterable<Style> {
  const styles = new Map<string, Style>();
  for (const offer of offers) {
    if (!('store' in offer)) continue;
    const { info, store } = offer;
    const old = plan.infos.get(info.path)?.file.compression ?? 'zstd';
    const compression = Object.hasOwn(codecs, old) ? (old as WritableCompression) : 'zstd';
    const listings = plan.listings.has(listingKey(info.path));
    const name = `${compression} ${listings}`;
    const style = styles.get(name) ?? { compression, listings, packs: [] };
    style.packs.push({ info: { ...info, signatures: signaturesOf(info, plan) }, store });
    styles.set(name, style);
  }
  return styles.values();
}

/** The source's signatures, and the old ones where they are still of what is true. */
function signaturesOf(info: PathInfo, plan: RepairPlan): readonly Signature[] {
  const old = plan.old.get(info.path);
  if (!old || fingerprint(old) !== fingerprint(info)) return info.signatures;
  return [...new Set([...info.signatures, ...old.signatures])];
}

/** What has to go: the lost, and all that refers to them, referrers before references; then what is no path's. */
function dropOrder(
  plan: RepairPlan,
  healed: ReadonlySet<StorePath>,
  lost: readonly string[],
): readonly string[] {
  const infos = new Map<StorePath, Pick<PathInfo, 'path' | 'references'>>(plan.infos);
  for (const path of healed) infos.set(path, plan.heal.get(path)![0]!.info);
  const referrers = new Map<string, string[]>();
  for (const { path, references } of infos.values())
    for (const reference of references) {
      const those = referrers.get(hashPart(reference));
      if (those) those.push(hashPart(path));
      else referrers.set(hashPart(reference), [hashPart(path)]);
    }
  const gone = new Set(lost);
  for (const hash of gone) for (const referrer of referrers.get(hash) ?? []) gone.add(referrer);
  const known = topological(infos, () => {})
    .map(({ path }) => hashPart(path))
    .toReversed();
  const order = new Set([...known.filter(hash => gone.has(hash)), ...gone]);
  const misplaced = plan.others.map(({ key }) => key).filter(key => /^[^/]+\.narinfo$/.test(key));
  const keys = [...[...order].flatMap(hash => [`${hash}.narinfo`, `${hash}.ls`]), ...misplaced];
  return keys.filter(key => plan.present.has(key));
}

/** What was put in anew while we looked is not lost; nor is what it refers to. */
async function refuseStaleDrop(
  { storeDir, narInfos, findings }: RepairPlan,
  storage: Storage,
  dropped: ReadonlySet<string>,
  healed: ReadonlySet<StorePath>,
): Promise<void> {
  const refuse = (key: string): never => {
    throw new GranaryError(
      'conflict',
      `Cannot drop ${key} from ${storage.url}: somebody changed it after it was verified; run the same command again`,
      { key },
    );
  };
  const ours = new Set([...healed].map(narInfoKey));
  const keys = [...dropped].filter(key => key.endsWith('.narinfo') && !ours.has(key));
  const expected = { storeDir, keys: [], sigsNeeded: 0 };
  for (const { key, info } of await narrationsIn(storage, keys, expected)) {
    if (!info) continue; // it is no better than it was
    const old = narInfos.get(key);
    if (!old || fingerprint(info) !== fingerprint(old) || info.file.url !== old.file.url)
      refuse(key);
  }
  for (const { id, key, path } of findings)
    if (
      id === 'nar-missing' &&
      path &&
      keys.includes(narInfoKey(path)) &&
      (await storage.head(key))
    )
      refuse(key);
}

/** Where a whole folder cannot be seen, nothing in it is known to be lost. */
function refuseBlindDrop({ findings }: RepairPlan, storage: Storage): void {
  const blind = findings.find(
    ({ id, key }) => (id === 'not-a-file' || id === 'unreadable') && folders.includes(key),
  );
  if (!blind) return;
  throw new GranaryError(
    'usage',
    `Cannot drop anything from ${storage.url}: ${blind.message}, so nobody knows what is in it; put a folder there first`,
    { key: blind.key },
  );
}
