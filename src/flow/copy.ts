/**
 * Copies paths from cache to cache:
 *
 *     plan ─▶ NAR files, as they are or packed anew ─▶ logs, debuginfo, realisations ─▶ narinfos
 *          ─▶ signatures, and logs and the like, that the target lacked of what it had
 *
 * What is there and right stays; what dies on the way leaves a closed cache, and is completed by the next run.
 */
import { type CacheInfoChanges, prepareCache } from '../cache/cache.ts';
import type { GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import { type NarInfo, narInfoKey } from '../format/narinfo.ts';
import { withSignatures } from '../format/narinfo-edit.ts';
import { fingerprint, type Signature } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import { CheckPool } from './check-pool.ts';
import { readClosedBy, recordClosedBy } from './closed-by.ts';
import { completeAll } from './complete.ts';
import type { CopyPlan, Move } from './copy-plan.ts';
import { each } from './each.ts';
import { Patience } from './patience.ts';
import { foundIn } from './plan.ts';
import { Publisher } from './publisher.ts';
import { readsAtOnce } from './read-cache.ts';
import { type Packing, repackAll } from './repack.ts';
import { SideFiles } from './side-files.ts';
import { transferAll } from './transfer.ts';
import { countedWork } from './unfinished.ts';

export interface CopyOptions {
  readonly cacheInfo: CacheInfoChanges;
  /** Each signs what moves, once its NAR is proven. */
  readonly keys: readonly SecretKey[];
  readonly link: boolean;
  /** Packs what moves anew, and so proves it; without it files move as they are. */
  readonly recompress?: Packing;
  /** What has the paths that are left out, as the target is to remember it. */
  readonly closedBy: readonly string[];
  readonly jobs: number;
  readonly report: (progress: CopyProgress) => void;
}

interface CopyProgress {
  readonly narBytes: number;
  readonly totalNarBytes: number;
  readonly paths: number;
  readonly totalPaths: number;
}

export interface CopySummary {
  /** Paths that moved. */
  readonly moved: number;
  /** Files that are shared with the source, or were there under their name and size: nothing was read of them. */
  readonly unread: number;
  readonly narBytes: number;
  readonly fileBytes: number;
  /** Paths that were there and got signatures of the source. */
  readonly united: number;
  /** Logs, debuginfo and realisations, and listings for what was there. */
  readonly sideFiles: number;
  readonly failed: ReadonlyMap<StorePath, GranaryError>;
  /** Paths that are whole but refer to one that failed, or whose narinfo cannot be used. */
  readonly held: readonly StorePath[];
}

/** @throws GranaryError when the target cannot be written, with how far it came; what was complete by then is published */
export async function executeCopy(
  plan: CopyPlan,
  source: Storage,
  storage: Storage,
  options: CopyOptions,
): Promise<CopySummary> {
  const { keys, link, recompress, jobs, report } = options;
  await using pool = new CheckPool();
  const isNear = source.local !== undefined && storage.spool !== undefined;
  if (isNear && !link && !recompress) pool.startFor(plan.fileBytes, jobs);
  await storage.sweep?.();
  await prepareCache(storage, plan.storeDir, options.cacheInfo);
  if (plan.excluded.size > 0)
    await recordClosedBy(storage, [...options.closedBy, ...(await readClosedBy(source))]); // before anything needs it
  const failed = new Map<StorePath, GranaryError>();
  const done = { narBytes: 0, paths: 0 };
  const totals = { totalNarBytes: plan.narBytes, totalPaths: plan.moves.length };
  const order = plan.moves.map(({ info }) => info);
  using publisher = new Publisher(storage, order, new Set([...plan.present, ...plan.excluded]));
  const tell = (narBytes: number, paths: number): void => {
    done.narBytes += narBytes;
    done.paths += paths;
    report({ ...done, ...totals });
  };
  const moved = (info: NarInfo): void => tell(info.narSize, 1);
  const transfers = plan.moves.map(move => ({
    info: move.info,
    signatures: signaturesFor(move, keys),
  }));
  let unread = 0;
  const patience = new Patience();
  return await countedWork(
    () => publisher.reached(),
    async () => {
      const beside = await SideFiles.between(source, storage, [
        ...order,
        ...plan.beside.map(({ info }) => info),
      ]);
      const into = { source, storage, publisher, failed, jobs, patience, beside, moved };
      try {
        if (recompress)
          await repackAll(transfers, {
            ...into,
            packing: recompress,
            progress: bytes => tell(bytes, 0),
          });
        else
          await transferAll(transfers, {
            ...into,
            pool,
            link,
            prove: keys.length > 0,
            unread: () => {
              unread += 1;
            },
          });
      } catch (error) {
        await publisher.publish().catch(() => {}); // what is complete stays; the first error is told
        throw error;
      }
      await publisher.publish();
      const united = await unite(plan, storage);
      await completeAll(plan.beside, into);
      const held = [...plan.held, ...[...publisher.held()].map(({ path }) => path)];
      const { published, narBytes, fileBytes } = publisher;
      const sideFiles = beside.copied;
      return { moved: published, unread, narBytes, fileBytes, united, sideFiles, failed, held };
    },
  );
}

const signaturesFor = ({ info, kept }: Move, keys: readonly SecretKey[]): readonly Signature[] => [
  ...kept,
  ...keys.map(key => signWith(key, fingerprint(info))),
];

/** Adds signatures to narinfos of the target; gives how many changed. */
async function unite({ additions }: CopyPlan, storage: Storage): Promise<number> {
  const entries: Entry[] = [];
  await each(additions, readsAtOnce(storage), async ({ info, signatures }) => {
    const found = await foundIn(storage, info.path);
    if (typeof found !== 'object' || fingerprint(found) !== fingerprint(info)) return; // it went, or changed
    const united = withSignatures(found.text, { add: signatures, drop: [] });
    const key = narInfoKey(info.path);
    if (united !== found.text) entries.push({ key, body: bodyOf(united), after: [] });
  });
  if (entries.length > 0) await storage.publish(entries);
  return entries.length;
}
