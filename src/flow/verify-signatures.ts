/**
 * What believers in some keys would say of narinfos. A signature costs more to check than all else
 * that is done with a narinfo (130 of 200 µs), so threads do it.
 */
import { heldBy, type PublicKey } from '../format/key.ts';
import type { NarInfo } from '../format/narinfo.ts';
import { fingerprint, keyNameOf } from '../format/signature.ts';
import type { CheckPool } from './check-pool.ts';
import { each } from './each.ts';
import { type Finding, finding } from './findings.ts';
import { makesItsPath } from './verify-narinfo.ts';

interface Wanted {
  readonly keys: readonly PublicKey[];
  /** Each path needs so many signatures by these, unless its content address proves it. */
  readonly sigsNeeded: number;
  readonly jobs: number;
  readonly pool: CheckPool;
  readonly tell: (found: Finding) => void;
}

const batchSize = 256;

/** Tells which signatures are wrong, and which paths have too few. */
export async function checkSignatures(
  infos: ReadonlyMap<string, NarInfo>,
  { keys, sigsNeeded, jobs, pool, tell }: Wanted,
): Promise<void> {
  const judge = (key: string, info: NarInfo, held: readonly boolean[]): void => {
    for (const found of signatureFindings(key, info, { keys, sigsNeeded, held })) tell(found);
  };
  if (infos.size <= batchSize) {
    for (const [key, info] of infos)
      judge(key, info, heldBy(keys, info.signatures, fingerprint(info)));
    return;
  }
  await each(batchesOf(infos), jobs, async batch => {
    const texts = batch.map(([, info]) => ({
      text: fingerprint(info),
      signatures: info.signatures,
    }));
    const answers = await pool.signatures(texts, keys);
    for (const [at, [key, info]] of batch.entries()) judge(key, info, answers[at]!);
  });
}

function* batchesOf<T>(items: Iterable<T>): Generator<readonly T[]> {
  let batch: T[] = [];
  for (const item of items) {
    batch.push(item);
    if (batch.length < batchSize) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

interface Held extends Pick<Wanted, 'keys' | 'sigsNeeded'> {
  /** Of each signature, whether it is one of the keys'. */
  readonly held: readonly boolean[];
}

function* signatureFindings(
  key: string,
  info: NarInfo,
  { keys, sigsNeeded, held }: Held,
): Generator<Finding> {
  const { path, signatures } = info;
  const names = new Set(keys.map(({ name }) => name));
  for (const [at, signature] of signatures.entries())
    if (!held[at] && names.has(keyNameOf(signature)))
      yield finding(
        'signature-wrong',
        key,
        `The signature of ${path} by ${keyNameOf(signature)} is wrong`,
        path,
      );
  const good = held.filter(Boolean).length; // no two signatures are equal: parseNarInfo saw to that
  if (good < sigsNeeded && !(info.ca !== undefined && makesItsPath(info)))
    yield finding(
      'signature-missing',
      key,
      `${path} has ${good} of the ${sigsNeeded} signatures that are needed`,
      path,
    );
}
