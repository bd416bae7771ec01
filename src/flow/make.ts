/**
 * Makes a cache of closures: packs what the plan names and publishes it.
 *
 * At every moment the cache is closed, and a run that dies leaves nothing but NARs that no narinfo names.
 */
import { type CacheInfoChanges, prepareCache } from '../cache/cache.ts';
import type { GranaryError } from '../errors.ts';
import type { StoreDir, StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { recordClosedBy } from './closed-by.ts';
import { type LogWish, putLogs, putRealisations } from './make-sides.ts';
import { type PackEvent, type PackOptions, packAll } from './pack-all.ts';
import type { MakePlan } from './plan.ts';
import { Publisher } from './publisher.ts';
import { countedWork } from './unfinished.ts';

export interface MakeOptions extends PackOptions {
  readonly storeDir: StoreDir;
  readonly cacheInfo: CacheInfoChanges;
  /** What has the paths that are left out, as the cache is to remember it. */
  readonly closedBy?: readonly string[];
  /** The cache gets the logs of the builds, of what the plan names derivers of. */
  readonly logs?: LogWish;
  readonly report: (event: MakeEvent) => void;
}

export type MakeEvent =
  | PackEvent
  | {
      readonly type: 'path';
      readonly path: StorePath;
      readonly state: 'held';
      /** The reference that is not published either. */
      readonly behind: StorePath;
    };

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
  /** Realisations and logs that are new in the cache. */
  readonly realisations: number;
  readonly logs: number;
  /** Why some logs cannot be read. */
  readonly unread: readonly GranaryError[];
}

/**
 * Carries out a plan.
 *
 * @throws GranaryError when the cache cannot be written, with how far it came; what was complete by then is published
 */
export async function executeMake(
  plan: MakePlan,
  storage: Storage,
  options: MakeOptions,
): Promise<MadeSummary> {
  const swept = (await storage.sweep?.()) ?? 0;
  await prepareCache(storage, options.storeDir, options.cacheInfo);
  using publisher = new Publisher(
    storage,
    plan.packs.map(pack => pack.info),
    new Set([...plan.present, ...plan.excluded]),
  );
  if (plan.excluded.size > 0) await recordClosedBy(storage, options.closedBy ?? []);
  const failed = new Map<StorePath, GranaryError>();
  await countedWork(
    () => publisher.reached(),
    async () => {
      await packAll(plan.packs, { ...options, storage, publisher, failed });
      await publisher.publish();
    },
  );
  const held = [...publisher.held()];
  for (const { path, behind } of held)
    options.report({ type: 'path', path, state: 'held', behind });
  const lost = new Set([...failed.keys(), ...held.map(({ path }) => path)]);
  const { excluded } = plan;
  const wish = { lost, excluded, keys: options.keys };
  const realisations = await putRealisations(plan.origins, storage, wish);
  const { logs, unread } = options.logs
    ? await putLogs(plan.origins, storage, { wish: options.logs, jobs: options.jobs })
    : { logs: 0, unread: [] };
  return {
    added: publisher.published,
    narBytes: publisher.narBytes,
    fileBytes: publisher.fileBytes,
    swept,
    failed,
    held: held.map(entry => entry.path),
    realisations,
    logs,
    unread,
  };
}
