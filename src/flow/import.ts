/**
 * Puts paths into a store, through whoever writes it:
 *
 *     plan ─▶ NARs, proven as they stream ─▶ the store, which proves them again and asks who signed
 *
 * Paths go in batches, references before referrers. What fails takes along only what refers to it; what was added stays,
 * and the next run adds the rest.
 */
import { collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint, keyNameOf } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import type { PathToAdd, WritableStore } from '../store/store.ts';
import { each } from './each.ts';
import type { ImportPlan } from './import-plan.ts';
import type { Supply } from './supply.ts';

export interface ImportOptions {
  /** Each signs what goes, once its NAR is proven. */
  readonly keys: readonly SecretKey[];
  readonly report: (progress: ImportProgress) => void;
}

interface ImportProgress {
  readonly narBytes: number;
  readonly totalNarBytes: number;
  readonly paths: number;
  readonly totalPaths: number;
}

export interface ImportSummary {
  /** Paths that were added. */
  readonly added: number;
  readonly narBytes: number;
  readonly failed: ReadonlyMap<StorePath, GranaryError>;
  /** Paths that were not sent, as they refer to one that failed. */
  readonly held: readonly StorePath[];
}

/** A batch is one exchange: enough to make the way there cheap, and not so much that a failure repeats a lot. */
const batchPaths = 64;
const batchBytes = 64 << 20;
/** NARs up to this size are read before their batch goes: several at once, and once only. */
const keptNar = 256 << 10;

/** @throws GranaryError when the store cannot be written any more; what was added by then is there */
export async function executeImport<Info extends PathInfo>(
  plan: ImportPlan<Info>,
  supply: Supply<Info>,
  store: WritableStore,
  { keys, report }: ImportOptions,
): Promise<ImportSummary> {
  const failed = new Map<StorePath, GranaryError>();
  const held: StorePath[] = [];
  const lost = new Set<StorePath>();
  const done = { narBytes: 0, paths: 0 };
  const totals = { totalNarBytes: plan.narBytes, totalPaths: plan.moves.length };
  const tell = (): void => report({ ...done, ...totals });
  const fail = (path: StorePath, error: GranaryError): void => {
    failed.set(path, error);
    lost.add(path);
  };
  const isBehind = ({ references }: PathInfo): boolean =>
    references.some(reference => lost.has(reference));
  const isHeld = (info: PathInfo): boolean => {
    if (!isBehind(info)) return false;
    held.push(info.path);
    lost.add(info.path);
    return true;
  };

  /** What may be sent, with our signatures: small NARs are read now, and big ones that we sign for. */
  const ready = async (infos: readonly Info[]): Promise<readonly PathToAdd[]> => {
    const kept = new Map<StorePath, Buffer>();
    await each(infos, supply.atOnce, async info => {
      const isSmall = info.narSize <= keptNar;
      if (isBehind(info) || !(isSmall || keys.length > 0)) return;
      try {
        const bytes = isSmall ? await collect(supply.nar(info), keptNar) : await drain(info);
        if (bytes) kept.set(info.path, bytes);
      } catch (error) {
        fail(info.path, ofOnePath(error));
      }
    });
    return infos
      .filter(info => !lost.has(info.path) && !isHeld(info))
      .map(info => ({
        info: withSignatures(info, keys),
        nar: () => {
          const bytes = kept.get(info.path);
          return bytes ? [bytes] : supply.nar(info);
        },
      }));
  };
  const drain = async (info: Info): Promise<undefined> => {
    for await (const _ of supply.nar(info));
  };

  const addBatch = async (batch: readonly PathToAdd[]): Promise<void> => {
    for (let rest = batch; rest.length > 0; rest = rest.filter(({ info }) => !isHeld(info))) {
      const sent = new Map<StorePath, number>();
      let broken: { readonly path: StorePath; readonly error: unknown } | undefined;
      const counted = ({ info, nar }: PathToAdd): PathToAdd => ({
        info,
        nar: async function* () {
          try {
            for await (const bytes of nar()) {
              yield bytes;
              done.narBytes += bytes.length;
              sent.set(info.path, (sent.get(info.path) ?? 0) + bytes.length);
              tell();
            }
          } catch (error) {
            broken = { path: info.path, error };
            throw error;
          }
        },
      });
      try {
        await store.add(rest.map(counted));
        done.paths += rest.length;
        return tell();
      } catch (error) {
        const told = ofOnePath(broken?.error ?? error);
        const there = await store.valid(rest.map(({ info }) => info.path));
        const bad = rest.find(({ info: { path } }) =>
          broken ? path === broken.path : !there.has(path),
        );
        if (!bad) throw error;
        done.paths += there.size;
        for (const [path, bytes] of sent) if (!there.has(path)) done.narBytes -= bytes;
        tell();
        fail(bad.info.path, broken ? told : refusal(bad.info, store, told));
        rest = rest.filter(each => each !== bad && !there.has(each.info.path));
      }
    }
  };

  for (const batch of batches(plan.moves)) await addBatch(await ready(batch));
  return { added: done.paths, narBytes: done.narBytes, failed, held };
}

function withSignatures(info: PathInfo, keys: readonly SecretKey[]): PathInfo {
  const ours = keys.map(key => signWith(key, fingerprint(info)));
  return { ...info, signatures: [...new Set([...info.signatures, ...ours])] };
}

/** A bug, or an end that is gone, stops everything. */
function ofOnePath(error: unknown): GranaryError {
  if (error instanceof GranaryError && error.facts.stops === undefined) return error;
  throw error;
}

/** A store refuses in its own words, which are about a batch: says which path it is, and what to do. */
function refusal(info: PathInfo, store: WritableStore, error: GranaryError): GranaryError {
  const { path, signatures } = info;
  const facts = { ...error.facts, path };
  const isUnsigned = error.code === 'untrusted' && /signature/.test(error.message);
  if (!isUnsigned)
    return new GranaryError(
      error.code,
      `Cannot put ${path} into ${store.url}: ${error.message}`,
      facts,
      error,
    );
  const names = [...new Set(signatures.map(keyNameOf))].join(', ');
  const [why, trust] =
    names === ''
      ? ['nobody signed it', '']
      : [
          `it trusts no key that signed it (${names})`,
          'put the public key into trusted-public-keys there, or ',
        ];
  return new GranaryError(
    'untrusted',
    `Cannot put ${path} into ${store.url}: ${why}; ${trust}sign it by --sign FILE with a key that is trusted there`,
    facts,
    error,
  );
}

function* batches<Info extends PathInfo>(infos: readonly Info[]): Generator<readonly Info[]> {
  let batch: Info[] = [];
  let bytes = 0;
  for (const info of infos) {
    batch.push(info);
    bytes += info.narSize;
    if (batch.length < batchPaths && bytes < batchBytes) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}
