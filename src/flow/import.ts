/**
 * Puts paths into a store, through whoever writes it:
 *
 *     plan ─▶ NARs, proven as they stream ─▶ the store, which proves them again and asks who signed
 *
 * Paths go in batches, references before referrers. What fails takes along only what refers to it; what was added stays,
 * and the next run adds the rest.
 */
import { type Bytes, collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import type { PathInfo } from '../format/path-info.ts';
import { fingerprint, keyNameOf } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import type { PathToAdd, WritableStore } from '../store/store.ts';
import { each } from './each.ts';
import type { ImportPlan } from './import-plan.ts';
import { Patience } from './patience.ts';
import type { Supply } from './supply.ts';
import { countedWork } from './unfinished.ts';

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
  /** Paths that were not sent, as they refer to one that failed, or whose narinfo cannot be used. */
  readonly held: readonly StorePath[];
}

/** A batch is one exchange: enough to make the way there cheap, and not so much that a failure repeats a lot. */
const batchPaths = 64;
const batchBytes = 64 << 20;
/** NARs up to this size are read before their batch goes: several at once, and once only. */
const keptNar = 256 << 10;

/** @throws GranaryError when the store cannot be written any more, with how far it came; what was added by then is there */
export async function executeImport<Info extends PathInfo>(
  plan: ImportPlan<Info>,
  supply: Supply<Info>,
  store: WritableStore,
  { keys, report }: ImportOptions,
): Promise<ImportSummary> {
  const patience = new Patience();
  const lost = new Losses(supply.isFar ? patience : undefined);
  const done = { narBytes: 0, paths: 0 };
  const totals = { totalNarBytes: plan.narBytes, totalPaths: plan.moves.length };
  const count = (paths: number, narBytes: number): void => {
    done.paths += paths;
    done.narBytes += narBytes;
    report({ ...done, ...totals });
  };
  const reached = () => ({ done: done.paths, left: plan.moves.length - done.paths });
  await countedWork(reached, async () => {
    for (const infos of batches(plan.moves)) {
      const batch = await ready(infos, supply, { keys, lost });
      await addBatch(batch, store, { lost, count });
      if (batch.length > 0) patience.answered();
    }
  });
  const { failed } = lost;
  const held = [...plan.held, ...lost.held];
  return { added: done.paths, narBytes: done.narBytes, failed, held };
}

/** What does not go, and what cannot since it refers to such. */
class Losses {
  readonly failed = new Map<StorePath, GranaryError>();
  readonly held: StorePath[] = [];
  readonly #all = new Set<StorePath>();
  readonly #patience: Patience | undefined;

  constructor(patience: Patience | undefined) {
    this.#patience = patience;
  }

  /** @throws GranaryError when the source does not answer any more */
  fail(path: StorePath, error: GranaryError): void {
    this.failed.set(path, error);
    this.#all.add(path);
    this.#patience?.failed(error);
  }

  /** Whether it is lost, by itself or by what it refers to. Who goes through paths in their order is told of all. */
  takes({ path, references }: PathInfo): boolean {
    if (this.#all.has(path)) return true;
    if (!references.some(reference => this.#all.has(reference))) return false;
    this.#all.add(path);
    this.held.push(path);
    return true;
  }
}

interface Readying {
  readonly keys: readonly SecretKey[];
  readonly lost: Losses;
}

/** What may be sent, with our signatures: small NARs are read now, and big ones that we sign for. */
async function ready<Info extends PathInfo>(
  batch: readonly Info[],
  supply: Supply<Info>,
  { keys, lost }: Readying,
): Promise<readonly PathToAdd[]> {
  const infos = batch.filter(info => !lost.takes(info));
  const kept = new Map<StorePath, Buffer>();
  await each(infos, supply.atOnce, async info => {
    const isSmall = info.narSize <= keptNar;
    if (!isSmall && keys.length === 0) return;
    try {
      const bytes = await (isSmall ? collect(supply.nar(info), keptNar) : drain(supply.nar(info)));
      if (bytes) kept.set(info.path, bytes);
    } catch (error) {
      lost.fail(info.path, ofOnePath(error));
    }
  });
  return infos
    .filter(info => !lost.takes(info))
    .map(info => ({
      info: withSignatures(info, keys),
      nar: () => {
        const bytes = kept.get(info.path);
        return bytes ? [bytes] : supply.nar(info);
      },
    }));
}

async function drain(bytes: Bytes): Promise<undefined> {
  for await (const _ of bytes);
}

interface Adding {
  readonly lost: Losses;
  /** Is told of paths that were added, and of bytes that were sent; less than none are taken back. */
  readonly count: (paths: number, narBytes: number) => void;
}

/** Sends a batch, and after a failure what does not need the path that failed. */
async function addBatch(
  batch: readonly PathToAdd[],
  store: WritableStore,
  { lost, count }: Adding,
): Promise<void> {
  for (let rest = batch; rest.length > 0; rest = rest.filter(({ info }) => !lost.takes(info))) {
    const sent = new Map<StorePath, number>();
    let broken: { readonly path: StorePath; readonly error: unknown } | undefined;
    const watched = ({ info, nar }: PathToAdd): PathToAdd => ({
      info,
      nar: async function* () {
        try {
          for await (const bytes of nar()) {
            yield bytes;
            sent.set(info.path, (sent.get(info.path) ?? 0) + bytes.length);
            count(0, bytes.length);
          }
        } catch (error) {
          broken = { path: info.path, error };
          throw error;
        }
      },
    });
    try {
      await store.add(rest.map(watched));
      return count(rest.length, 0);
    } catch (error) {
      const asked = () => store.valid(rest.map(({ info }) => info.path));
      if (stops(broken?.error ?? error)) {
        // The store may answer others: then it tells how much of the batch it has.
        const there = await asked().catch(() => undefined);
        count(there?.size ?? 0, 0);
      }
      const told = ofOnePath(broken?.error ?? error);
      const there = await asked();
      const bad = rest.find(({ info: { path } }) =>
        broken ? path === broken.path : !there.has(path),
      );
      if (!bad) throw error;
      const inVain = [...sent].filter(([path]) => !there.has(path));
      count(there.size, -inVain.reduce((sum, [, bytes]) => sum + bytes, 0));
      lost.fail(bad.info.path, broken ? told : refusal(bad.info, store, told));
      rest = rest.filter(each => each !== bad && !there.has(each.info.path));
    }
  }
}

function withSignatures(info: PathInfo, keys: readonly SecretKey[]): PathInfo {
  const ours = keys.map(key => signWith(key, fingerprint(info)));
  return { ...info, signatures: [...new Set([...info.signatures, ...ours])] };
}

/** A bug, or an end that is gone, stops everything. */
function ofOnePath(error: unknown): GranaryError {
  if (stops(error)) throw error;
  return error as GranaryError;
}

const stops = (error: unknown): boolean =>
  !(error instanceof GranaryError) || error.facts.stops !== undefined;

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
