/**
 * Packs paths of a store into a cache: largest first, several at once. A NAR is put as soon as it is
 * packed and proven against the store's own record; its narinfo is left to the publisher.
 */
import { narKey } from '../cache/cache.ts';
import { codecFor, type WritableCompression } from '../cache/codec.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import type { KnownFile } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint } from '../format/signature.ts';
import { hashPart, type StorePath } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import { bodyOf, type Storage } from '../storage/storage.ts';
import type { Store } from '../store/store.ts';
import { each } from './each.ts';
import { PackPool } from './pack-pool.ts';
import type { Packed, PackFailure, PackSettings } from './pack-protocol.ts';
import type { Pack } from './plan.ts';
import type { Publisher } from './publisher.ts';

export interface PackOptions {
  readonly compression: WritableCompression;
  readonly level: number;
  readonly listings: boolean;
  /** Whether the cache gets a debuginfo file for each file with debug information that is packed. */
  readonly debugInfo?: boolean;
  /** Each adds a signature to what is packed. */
  readonly keys: readonly SecretKey[];
  /** Packing threads at once. */
  readonly jobs: number;
  readonly report: (event: PackEvent) => void;
  /** Threads that were started before, by the packSettings of the same. */
  readonly pool?: PackPool;
}

interface Target {
  readonly storage: Storage;
  readonly publisher: Publisher;
  readonly failed: Map<StorePath, GranaryError>;
}

export type PackEvent =
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
  | { readonly type: 'progress'; readonly narBytes: number; readonly paths: number };

/** Small trees go to a thread together: a message for each cost 0.7 s for 2,000, so 0.25 s. */
const groupPaths = 64;
const groupBytes = 1 << 20;
/** How much of a compressed file comes back from its thread in memory, before it goes to a file. */
const inMemory = 2 << 20;
/**
 * What a thread has to have to do, or it is done before it has started: with the usual zstd one packs 2,000 tiny paths in 0.31 s
 * and two in 0.36.
 */
const bytesPerThread = 16 << 20;
const pathsPerThread = 4096;

/**
 * Packs each of these, puts its NAR and hands it to the publisher, which it lets publish now and then.
 * What fails by itself is told and kept in `failed`; what stops everything is thrown.
 */
export async function packAll(packs: readonly Pack[], into: PackOptions & Target): Promise<void> {
  if (packs.length === 0) return;
  const { storage, publisher, failed, compression, report } = into;
  const progress = { narBytes: 0, paths: 0 };
  const tell = (narBytes: number, paths: number): void => {
    progress.narBytes += narBytes;
    progress.paths += paths;
    report({ type: 'progress', ...progress });
  };
  const groups = groupsOf(packs);
  const threads = threadsFor(groups, into);
  using spool = openSpool(storage);
  await using own = into.pool ? undefined : new PackPool(packSettings(storage, into));
  const pool = into.pool ?? own!;
  pool.onProgress = bytes => tell(bytes, 0);
  pool.start(threads);
  const fail = ({ path }: PathInfo, error: GranaryError): void => {
    failed.set(path, error);
    const { code, message } = error;
    report({ type: 'path', path, state: 'failed', code, message: `${message} (${path})` });
  };

  const pack = async (group: readonly Pack[]): Promise<void> => {
    const tasks = group.map(({ info, store }) => {
      const content = store.content(info.path);
      const isBounded = info.narSize > 0 && !('tree' in content); // a tree has an end
      return {
        content,
        ...(isBounded ? { narSize: info.narSize } : {}),
        spool: spool.name(`nar/${hashPart(info.path)}.nar${codecFor(compression).extension}`),
      };
    });
    const results = await pool.pack(tasks);
    for (const [at, result] of results.entries()) {
      const { info, again } = group[at]!;
      const error =
        'failure' in result
          ? asError(result.failure, info)
          : mismatch(info, result.packed, group[at]!.store.advice);
      if (error) {
        if (error.facts.stops !== undefined) throw error; // the cache cannot be written
        fail(info, error);
        if ('packed' in result) tell(-result.packed.toldBytes, 0);
        spool.drop(tasks[at]!.spool);
        continue;
      }
      const { packed } = result as { packed: Packed };
      const file = await putNar(storage, packed, tasks[at]!.spool, compression);
      spool.done(tasks[at]!.spool);
      try {
        const whole = signed({ ...info, narSize: packed.narSize }, into.keys);
        publisher.ready(whole, file, packed);
      } catch (unwritable) {
        if (!(unwritable instanceof GranaryError && unwritable.code === 'malformed'))
          throw unwritable;
        fail(info, unwritable);
        continue;
      }
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
    await publisher.publishIfDue();
  };

  try {
    await each(groups, threads + 1, pack); // one more is at hand when a thread gets idle
  } catch (error) {
    await publisher.publish().catch(() => {}); // what is complete stays; the first error is told
    throw error;
  }
}

/** Where the threads can write beside the file's place, they do: they are more than the main one. */
export const packSettings = (
  storage: Storage,
  {
    compression,
    level,
    listings,
    debugInfo = false,
  }: Pick<PackOptions, 'compression' | 'level' | 'listings' | 'debugInfo'>,
): PackSettings => ({
  compression,
  level,
  listing: listings,
  debugInfo,
  inMemory: storage.spool ? 0 : inMemory,
});

const signed = (info: PathInfo, keys: readonly SecretKey[]): PathInfo => ({
  ...info,
  signatures: [...info.signatures, ...keys.map(key => signWith(key, fingerprint(info)))],
});

/** Has a size that says what work it is. */
interface Sized {
  readonly info: Pick<PathInfo, 'narSize'>;
}

/** Largest first, so that no big path comes last and alone; small ones together. */
export function groupsOf<Item extends Sized>(items: readonly Item[]): readonly (readonly Item[])[] {
  const groups: Item[][] = [];
  let bytes = groupBytes;
  for (const item of items.toSorted((a, b) => b.info.narSize - a.info.narSize)) {
    const open = groups.at(-1);
    if (open && open.length < groupPaths && bytes < groupBytes) open.push(item);
    else {
      groups.push([item]);
      bytes = 0;
    }
    bytes += item.info.narSize;
  }
  return groups;
}

/** So many threads, if there is work for them. */
export function threadsFor(
  groups: readonly (readonly Sized[])[],
  { jobs, compression, level }: Pick<PackOptions, 'jobs' | 'compression' | 'level'>,
): number {
  const items = groups.flat();
  const forBytes = items.reduce((sum, { info }) => sum + info.narSize, 0) / bytesPerThread;
  const isQuick = compression === 'none' || (compression === 'zstd' && level <= 3);
  const most = isQuick
    ? forBytes + items.length / pathsPerThread
    : Math.max(forBytes, groups.length);
  return Math.min(jobs, Math.ceil(most));
}

/** Puts what a thread packed. */
export async function putNar(
  storage: Storage,
  packed: Packed,
  spool: string,
  compression: WritableCompression,
): Promise<KnownFile> {
  const { fileHash, fileSize, bytes } = packed;
  const url = narKey(fileHash, compression);
  await storage.put(url, bytes ? bodyOf(bytes) : spooled(spool, fileSize));
  return { url, compression, fileHash, fileSize };
}

/** Law 4: nothing is published that is not what the store's own record says. */
function mismatch(
  info: PathInfo,
  packed: Packed,
  advice: Store['advice'],
): GranaryError | undefined {
  const sizeIsKnown = info.narSize > 0;
  if (packed.narHash === info.narHash && (!sizeIsKnown || packed.narSize === info.narSize))
    return undefined;
  const [what, expected, actual] =
    packed.narHash === info.narHash
      ? ['NarSize', info.narSize, packed.narSize]
      : ['NarHash', info.narHash, packed.narHash];
  return new GranaryError(
    'corrupt',
    `Cannot publish ${info.path}: its ${what} is ${actual}, but the store says ${expected}; ${advice(info.path)}`,
    { path: info.path, expected: expected!, actual: actual! },
  );
}

function asError({ code, message, facts }: PackFailure, info: PathInfo): GranaryError {
  if (code === undefined) throw new Error(message); // a bug: its stack is the message
  return new GranaryError(code, message, { ...facts, storePath: info.path });
}
