/** What a store has beside its paths and `make` brings along: realisations, and logs of builds. */
import { readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import {
  parseRealisation,
  printRealisation,
  type Realisation,
  realisationFingerprint,
  realisationKey,
} from '../format/realisation.ts';
import { baseName, type StorePath } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import { unpackLog } from '../store/build-log.ts';
import type { Store } from '../store/store.ts';
import { each } from './each.ts';

/** What was made of a store. */
export interface Origin {
  readonly store: Store;
  /** References before referrers. */
  readonly paths: readonly StorePath[];
  /** Derivations that made them. */
  readonly derivers: ReadonlySet<StorePath>;
}

interface PutRealisations {
  readonly lost: ReadonlySet<StorePath>;
  /** What another cache has, and so has to say. */
  readonly excluded: ReadonlySet<StorePath>;
  /** Each signs. */
  readonly keys: readonly SecretKey[];
}

/**
 * Publishes the realisations of the paths that are there, signed, each after those that it depends on; gives how many
 * changed. One that says another path than the cache's stays out: nothing that is there is overwritten.
 */
export async function putRealisations(
  origins: readonly Origin[],
  storage: Storage,
  { lost, excluded, keys }: PutRealisations,
): Promise<number> {
  const entries: Entry[] = [];
  for (const { store, paths } of origins) {
    const there = paths.filter(path => !lost.has(path));
    const found = (await store.realisations?.(there)) ?? [];
    for (const one of inOrder(found, there)) {
      if (excluded.has(one.path)) continue;
      const key = realisationKey(one);
      const old = await readText(storage, key);
      const other = old === undefined ? undefined : parseRealisation(old, one.path);
      if (other && other.path !== one.path) continue;
      const signatures = [
        ...one.signatures,
        ...(other?.signatures ?? []),
        ...keys.map(secret => signWith(secret, realisationFingerprint(one))),
      ];
      const text = printRealisation({ ...one, signatures });
      if (text !== old) entries.push({ key, body: bodyOf(text) });
    }
  }
  if (entries.length > 0) await storage.publish(entries);
  return entries.length;
}

/** Those of references first, as what a realisation depends on is of such. */
function inOrder(all: readonly Realisation[], paths: readonly StorePath[]): readonly Realisation[] {
  if (all.length < 2) return all;
  const order = new Map(paths.map((path, at) => [path, at]));
  return all.toSorted((a, b) => order.get(a.path)! - order.get(b.path)!);
}

/** Whether somebody asked for logs, or they come along where they are found: one that cannot be read keeps nobody then. */
export type LogWish = 'asked' | 'found';

interface PutLogs {
  readonly logs: number;
  readonly unread: readonly GranaryError[];
}

/** Puts the logs that the cache lacks, as plain text; gives how many, and why some cannot be read. */
export async function putLogs(
  origins: readonly Origin[],
  storage: Storage,
  { wish, jobs }: { readonly wish: LogWish; readonly jobs: number },
): Promise<PutLogs> {
  const unread: GranaryError[] = [];
  let logs = 0;
  using spool = openSpool(storage);
  for (const { store, derivers } of origins)
    await each(derivers, jobs, async deriver => {
      const key = `log/${baseName(deriver)}`;
      const file = store.log?.(deriver);
      if (file === undefined || (await storage.head(key))) return;
      const text = spool.name(key);
      try {
        const size = await unpackLog(file, text);
        await storage.put(key, spooled(text, size));
        spool.done(text);
        logs += 1;
      } catch (error) {
        if (!(error instanceof GranaryError)) throw error;
        const isOwn = error.code === 'corrupt';
        if (!isOwn && !isUnreadable(error)) throw error;
        if (!isOwn && wish === 'asked') throw orLeaveOut(error);
        unread.push(error);
      } finally {
        spool.drop(text);
      }
    });
  if (logs > 0) await storage.publish([]); // makes them safe
  return { logs, unread };
}

/** Without bzip2, or a right to: that is so of the store, and not of the cache. */
const isUnreadable = ({ code, facts }: GranaryError): boolean =>
  (code === 'absent' && facts.errno === undefined) || facts.errno === 'EACCES';

const orLeaveOut = (error: GranaryError): GranaryError =>
  new GranaryError(error.code, `${error.message}, or leave out --logs`, error.facts, error);
