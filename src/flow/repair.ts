/**
 * Heals a cache:
 *
 *     verify ─▶ what is broken ─▶ plan ─▶ pack from a store, or take from a cache ─▶ narinfos ─▶ removals
 *
 * A replacement is proven before the old goes, and goes in as `make` puts things in: NAR before narinfo,
 * references before referrers. What nobody can heal stays as it is, unless it is to be dropped: then with
 * all that refers to it, referrers first, so that clients ask their next cache instead of failing.
 */
import { cacheInfoKey, folders, listingKey, prepareCache, readText } from '../cache/cache.ts';
import { codecs, type WritableCompression } from '../cache/codec.ts';
import { GranaryError } from '../errors.ts';
import { soundCacheInfo } from '../format/cache-info.ts';
import { narInfoKey } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint, type Signature } from '../format/signature.ts';
import { hashPart, type StoreDir, type StorePath } from '../format/store-path.ts';
import { bodyOf, type Storage } from '../storage/storage.ts';
import { topological } from './closure.ts';
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
  /** Hash parts of what is still broken. */
  readonly lost: readonly string[];
  readonly failed: ReadonlyMap<StorePath, GranaryError>;
}

/** Carries out a plan. A cache that is whole is not touched. */
export async function executeRepair(
  plan: RepairPlan,
  storage: Storage,
  options: RepairOptions,
): Promise<RepairSummary> {
  if (plan.frame) await mendFrame(storage, plan.storeDir);
  const failed = new Map<StorePath, GranaryError>();
  const healed = await heal(plan, storage, options, failed);
  const removed: string[] = [];
  const remove = async (key: string): Promise<void> => {
    await storage.delete?.(key);
    removed.push(key);
  };
  for (const key of plan.remove) await remove(key);
  const isHealed = new Set(healed.map(hashPart));
  const lost = [...plan.lost, ...[...failed.keys()].map(hashPart)].filter(
    hash => !isHealed.has(hash),
  );
  if (options.drop) refuseBlindDrop(plan, storage);
  if (options.drop) for (const key of dropOrder(plan, isHealed, lost)) await remove(key);
  return { healed, removed, lost: options.drop ? [] : lost, failed };
}

async function mendFrame(storage: Storage, storeDir: StoreDir): Promise<void> {
  const text = await readText(storage, cacheInfoKey);
  const mended = text === undefined ? undefined : soundCacheInfo(text, storeDir);
  if (mended !== undefined && mended !== text) await storage.put(cacheInfoKey, bodyOf(mended));
  await prepareCache(storage, storeDir, {});
}

/** Tries the sources of each path in turn, until one is proven; gives what was published. */
async function heal(
  plan: RepairPlan,
  storage: Storage,
  options: RepairOptions,
  failed: Map<StorePath, GranaryError>,
): Promise<readonly StorePath[]> {
  const first = new Map([...plan.heal].map(([path, offers]) => [path, offers[0]!.info]));
  const present = new Set([...plan.sound.values()].map(info => info.path));
  const publisher = new Publisher(storage, topological(first), present);
  for (let turn = 0; ; turn++) {
    const left = [...plan.heal].filter(([path]) => turn === 0 || failed.has(path));
    const offers = left.flatMap(([, all]) => all.slice(turn, turn + 1));
    if (offers.length === 0) break;
    for (const { info } of offers) failed.delete(info.path);
    await fetchAll(offers, plan, { storage, publisher, failed, ...options });
  }
  await publisher.publish();
  const held = new Set([...publisher.held()].map(({ path }) => path));
  return [...plan.heal.keys()].filter(path => !failed.has(path) && !held.has(path));
}

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
    const old = plan.infos.get(narInfoKey(info.path))?.file.compression ?? 'zstd';
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
  const old = plan.infos.get(narInfoKey(info.path));
  if (!old || fingerprint(old) !== fingerprint(info)) return info.signatures;
  return [...new Set([...info.signatures, ...old.signatures])];
}

/** What has to go with the lost paths: all that refers to them, referrers before references. */
function dropOrder(
  plan: RepairPlan,
  isHealed: ReadonlySet<string>,
  lost: readonly string[],
): string[] {
  const gone = new Set(lost);
  const infos = new Map([...plan.infos.values()].map(info => [info.path, info]));
  const order = topological(infos);
  for (const { path, references } of order)
    if (
      !isHealed.has(hashPart(path)) &&
      references.some(reference => gone.has(hashPart(reference)))
    )
      gone.add(hashPart(path));
  const known = order
    .toReversed()
    .map(info => hashPart(info.path))
    .filter(hash => gone.has(hash));
  const rest = [...gone].filter(hash => !known.includes(hash));
  return [...known, ...rest].flatMap(hash => [`${hash}.narinfo`, `${hash}.ls`]);
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
