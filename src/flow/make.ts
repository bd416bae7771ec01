/**
 * Makes a cache of closures: packs what the plan names and publishes it.
 *
 * Paths are packed largest first, several at once. A NAR is put as soon as it is packed and proven
 * against the store's own record; its narinfo is published in a batch, after a flush, and only when
 * the narinfos of all its references are there or come before it. So at every moment the cache is
 * closed, and a run that dies leaves nothing but NARs that no narinfo names.
 */
import { type CacheInfoChanges, listingKey, narKey, prepareCache } from '../cache/cache.ts';
import { codecFor, type WritableCompression } from '../cache/codec.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import type { PackedNar } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint } from '../format/signature.ts';
import { hashPart, type StoreDir, type StorePath } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import { bodyOf, type Storage } from '../storage/storage.ts';
import { each } from './each.ts';
import { PackPool } from './pack-pool.ts';
import type { Packed, PackFailure } from './pack-protocol.ts';
import type { MakePlan, Pack } from './plan.ts';
import { Publisher } from './publisher.ts';

export interface MakeOptions {
  readonly storeDir: StoreDir;
  readonly compression: WritableCompression;
  readonly level: number;
  readonly listings: boolean;
  readonly cacheInfo: CacheInfoChanges;
  /** Each adds a signature to what is packed. */
  readonly keys: readonly SecretKey[];
  /** Packing threads at once. */
  readonly jobs: number;
  readonly report: (event: MakeEvent) => void;
}

export type MakeEvent =
  | {
      readonly type: 'path';
      readonly path: StorePath;
      readonly state: 'packed';
      readonly narSize: number;
      readonly fileSize: number;
      readonly again?: string;
    }
  | {
      readonly type: 'path';
      readonly path: StorePath;
      readonly state: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
    }
  | {
      readonly type: 'path';
      readonly path: StorePath;
      readonly state: 'held';
      /** The reference that is not published either. */
      readonly behind: StorePath;
    }
  | { readonly type: 'progress'; readonly narBytes: number; readonly paths: number };

export interface MadeSummary {
  /** Paths published. */
  readonly added: number;
  /** Bytes of NAR and of NAR files of these. */
  readonly narBytes: number;
  readonly fileBytes: number;
  /** Left-over temporaries of dead writers that were removed. */
  readonly swept: number;
  readonly failed: ReadonlyMap<StorePath, GranaryError>;
  /** Paths that are whole but refer to one that failed. */
  readonly held: readonly StorePath[];
}

/** A batch is published when it holds so many bytes or is so old: what a crash can cost. */
const batchBytes = 8 * 2 ** 30;
const batchMs = 30_000;
/** Small trees go to a thread together: a message for each cost 0.7 s for 2,000, so 0.25 s. */
const groupPaths = 64;
const groupBytes = 1 << 20;
/** A thread takes tens of milliseconds to start: no more of them than there is work for. */
const bytesPerThread = 16 << 20;

/**
 * Carries out a plan.
 *
 * @throws GranaryError when the cache cannot be written; what was complete by then is published
 */
export async function executeMake(
  plan: MakePlan,
  storage: Storage,
  options: MakeOptions,
): Promise<MadeSummary> {
  const swept = (await storage.sweep?.()) ?? 0;
  await prepareCache(storage, options.storeDir, options.cacheInfo);
  const publisher = new Publisher(
    storage,
    plan.packs.map(pack => pack.info),
    plan.present,
  );
  const failed = new Map<StorePath, GranaryError>();
  if (plan.packs.length > 0) await packAll(plan, storage, options, publisher, failed);
  await publisher.publish();
  const held = [...publisher.held()];
  for (const { path, behind } of held)
    options.report({ type: 'path', path, state: 'held', behind });
  return {
    added: publisher.published,
    narBytes: publisher.narBytes,
    fileBytes: publisher.fileBytes,
    swept,
    failed,
    held: held.map(entry => entry.path),
  };
}

async function packAll(
  plan: MakePlan,
  storage: Storage,
  options: MakeOptions,
  publisher: Publisher,
  failed: Map<StorePath, GranaryError>,
): Promise<void> {
  const { compression, level, listings: listing, report } = options;
  const progress = { narBytes: 0, paths: 0 };
  const tell = (narBytes: number, paths: number): void => {
    progress.narBytes += narBytes;
    progress.paths += paths;
    report({ type: 'progress', ...progress });
  };
  const groups = [...grouped(plan.packs)];
  const worth = Math.max(groups.length, Math.ceil(plan.narBytes / bytesPerThread));
  const threads = Math.min(options.jobs, worth);
  using spool = openSpool(storage);
  await using pool = new PackPool(threads, { compression, level, listing }, bytes =>
    tell(bytes, 0),
  );
  let batchStart = Date.now();

  const pack = async (group: readonly Pack[]): Promise<void> => {
    const tasks = group.map(({ info, store }) => ({
      tree: store.tree(info.path),
      spool: spool.name(`nar/${hashPart(info.path)}.nar${codecFor(compression).extension}`),
    }));
    const results = await pool.pack(tasks);
    for (const [at, result] of results.entries()) {
      const { info, again } = group[at]!;
      const error =
        'failure' in result ? asError(result.failure, info) : mismatch(info, result.packed);
      if (error) {
        if (error.facts.errno === 'ENOSPC' || error.facts.errno === 'EDQUOT') throw error;
        failed.set(info.path, error);
        const { code, message } = error;
        report({ type: 'path', path: info.path, state: 'failed', code, message });
        spool.drop(tasks[at]!.spool);
        continue;
      }
      const { packed } = result as { packed: Packed };
      const file = await putNar(storage, info, packed, tasks[at]!.spool, compression);
      if (packed.bytes) spool.unused(tasks[at]!.spool);
      else spool.drop(tasks[at]!.spool);
      publisher.ready(signed({ ...info, narSize: packed.narSize }, options.keys), file);
      const { narSize, fileSize } = packed;
      report({
        type: 'path',
        path: info.path,
        state: 'packed',
        narSize,
        fileSize,
        ...(again === undefined ? {} : { again }),
      });
      tell(narSize - packed.toldBytes, 1);
    }
    if (publisher.freshBytes >= batchBytes || Date.now() - batchStart >= batchMs) {
      batchStart = Date.now();
      await publisher.publish();
    }
  };

  try {
    await each(groups, threads, pack);
  } catch (error) {
    await publisher.publish().catch(() => {}); // what is complete stays; the first error is told
    throw error;
  }
}

const signed = (info: PathInfo, keys: readonly SecretKey[]): PathInfo => ({
  ...info,
  signatures: [...info.signatures, ...keys.map(key => signWith(key, fingerprint(info)))],
});

/** Largest first, so that no big path comes last and alone; small ones together. */
function* grouped(packs: readonly Pack[]): Generator<readonly Pack[]> {
  const order = packs.toSorted((a, b) => b.info.narSize - a.info.narSize);
  let group: Pack[] = [];
  let bytes = 0;
  for (const pack of order) {
    group.push(pack);
    bytes += pack.info.narSize;
    if (group.length < groupPaths && bytes < groupBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

async function putNar(
  storage: Storage,
  info: PathInfo,
  packed: Packed,
  spool: string,
  compression: WritableCompression,
): Promise<PackedNar> {
  const { fileHash, fileSize, bytes, listing } = packed;
  const url = narKey(fileHash, compression);
  await storage.put(url, bytes ? bodyOf(bytes) : spooled(spool, fileSize));
  if (listing !== undefined) await storage.put(listingKey(info.path), bodyOf(listing));
  return { url, compression, fileHash, fileSize };
}

/** Law 4: nothing is published that is not what the store's own record says. */
function mismatch(info: PathInfo, packed: Packed): GranaryError | undefined {
  const sizeIsKnown = info.narSize > 0;
  if (packed.narHash === info.narHash && (!sizeIsKnown || packed.narSize === info.narSize))
    return undefined;
  const [what, expected, actual] =
    packed.narHash === info.narHash
      ? ['NarSize', info.narSize, packed.narSize]
      : ['NarHash', info.narHash, packed.narHash];
  return new GranaryError(
    'corrupt',
    `Cannot publish ${info.path}: its ${what} is ${actual}, but the store says ${expected}; repair it with "nix-store --repair-path ${info.path}"`,
    { path: info.path, expected: expected!, actual: actual! },
  );
}

function asError({ code, message, facts }: PackFailure, info: PathInfo): GranaryError {
  if (code === undefined) throw new Error(message); // a bug: its stack is the message
  return new GranaryError(code, message, { ...facts, storePath: info.path });
}
