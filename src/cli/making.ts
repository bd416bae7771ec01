/** Packing paths of stores into a cache, for every command that does. */
import { availableParallelism } from 'node:os';
import type { CacheInfoChanges } from '../cache/cache.ts';
import type { WritableCompression } from '../cache/codec.ts';
import { GranaryError } from '../errors.ts';
import { executeMake } from '../flow/make.ts';
import type { LogWish } from '../flow/make-sides.ts';
import { packSettings } from '../flow/pack-all.ts';
import { PackPool } from '../flow/pack-pool.ts';
import { planMake, type Source } from '../flow/plan.ts';
import type { StoreDir } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import type { Arguments } from './arguments.ts';
import { refuseToAdd } from './caches.ts';
import { kindOf } from './ends.ts';
import { exclusionOf } from './exclusion.ts';
import type { Face } from './face.ts';
import { readSecretKey } from './key-files.ts';
import { showEvent, showPlan, showStart, showSummary } from './show-make.ts';
import { growHeapSlowly } from './small-heap.ts';

/**
 * From here on memory counts: 20,000 paths to pack take 160 MiB with a heap that grows slowly, and 290 without; it takes a fifth
 * longer. What is there already takes less: 20,000 paths 170 MiB without, and 1.24 s in place of 0.97 with it.
 */
const manyToPack = 5000;
const manyPaths = 50_000;

interface Making {
  readonly storage: Storage;
  readonly sources: readonly Source[];
  readonly storeDir: StoreDir;
  readonly compression: WritableCompression;
  readonly level: number;
  readonly listings: boolean;
  readonly debugInfo: boolean;
  /** Without it they stay where they are. */
  readonly logs: LogWish | undefined;
  readonly cacheInfo: CacheInfoChanges;
  /** Whose NAR is right, where the cache has another. */
  readonly prefer: 'source' | 'nobody';
  /** When the command began. */
  readonly start: number;
}

/** Plans, packs and tells, by the options --sign, --exclude, --with, --no-closure, --dry-run and --jobs; gives the exit status. */
export async function makeCache(making: Making, args: Arguments, face: Face): Promise<number> {
  const { storage, sources, storeDir, compression, level, cacheInfo, start } = making;
  const { listings, debugInfo, logs, prefer } = making;
  await refuseToAdd('add to', storage);
  const keys = args.all('sign').map(readSecretKey);
  const dryRun = args.has('dry-run');
  const jobs = args.number('jobs', 1, 1024) ?? availableParallelism();
  const from = args.last('from');
  if (args.has('with') && !args.has('no-closure'))
    throw new GranaryError(
      'usage',
      'Cannot use --with without --no-closure: what the ROOTs refer to comes along; leave it out, or use --exclude for what another cache has',
    );
  const exclude = await exclusionOf(args, from && kindOf(from) === 'store' ? from : undefined);
  await using pool = new PackPool(
    packSettings(storage, { compression, level, listings, debugInfo }),
  );
  let isEmpty = false;
  const plan = await planMake(sources, storage, {
    storeDir,
    listings,
    logs: logs !== undefined,
    noClosure: args.has('no-closure'),
    exclude,
    prefer,
    onEmpty: () => {
      isEmpty = true;
      pool.start(dryRun ? 0 : 1);
    },
    onClosure: paths => {
      if (paths > (isEmpty ? manyToPack : manyPaths)) growHeapSlowly();
    },
  });
  if (plan.packs.length > manyToPack) growHeapSlowly();
  if (dryRun) return showPlan(plan, storage, face);
  showStart(plan, storage, face);
  const made = await executeMake(plan, storage, {
    storeDir,
    compression,
    level,
    listings,
    debugInfo,
    ...(logs === undefined ? {} : { logs }),
    keys,
    cacheInfo,
    closedBy: exclude.names,
    jobs,
    pool,
    report: event => showEvent(event, plan, face),
  });
  face.done();
  return showSummary(plan, made, { storage, keys, logs, ms: Date.now() - start, face });
}
