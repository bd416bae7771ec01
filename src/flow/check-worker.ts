/** A checking thread: reads files of a cache on this machine, narinfos or NARs, and says what they are; it may copy them meanwhile. */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { checkNar, type NarClaim, type NarFacts } from '../cache/nar-check.ts';
import { type Hash, type HashAlgorithm, hashOf } from '../format/hash.ts';
import { parsePublicKey, type SecretKey } from '../format/key.ts';
import type { StoreDir } from '../format/store-path.ts';
import { directoryStorage } from '../storage/directory.ts';
import { writeFully } from '../storage/write-fully.ts';
import { fileChunks } from './file-chunks.ts';
import { type Narration, narrationsIn } from './narration.ts';
import { type Signed, type SignTask, type SignWanted, signedIn } from './signed.ts';

/** It comes as JSON, and so does the answer: that takes a third of the time of a structured clone. */
export type CheckRequest =
  | NarInfoRequest
  | SignRequest
  | CopyRequest
  | { readonly tasks: readonly CheckTask[] };

/** Narinfos to read in the cache at `root`. */
export interface NarInfoRequest {
  readonly root: string;
  readonly keys: readonly string[];
  readonly storeDir: StoreDir;
  /** Public keys, as text. */
  readonly believed: readonly string[];
  readonly sigsNeeded: number;
}

/** Narinfos to sign in the cache at `root`. */
export interface SignRequest extends Omit<SignWanted, 'keys'> {
  readonly root: string;
  readonly tasks: readonly SignTask[];
}

/** Files to copy as they are. */
export interface CopyRequest {
  readonly copies: readonly CopyTask[];
}

export interface CopyTask {
  readonly from: string;
  /** Must not be there yet. */
  readonly to: string;
  /** The hash that is asked for. */
  readonly algorithm: HashAlgorithm;
}

/** Of a file that was copied, or why it could not be read. A `to` that cannot be written ends the thread's work. */
export type CopyResult = { readonly fileHash: Hash; readonly fileSize: number } | Unread;

/** One file to check. */
export interface CheckTask {
  readonly file: string;
  readonly claim: NarClaim;
}

export type CheckResult = { readonly facts: NarFacts } | Unread;

/** Why a file cannot be read. */
export interface Unread {
  readonly code: string;
  readonly message: string;
}

/** What lends its chunks needs one buffer for all files, and leaves nothing to collect. */
const lends = (claim: NarClaim): boolean => claim.compression === 'zstd';

const port = parentPort as MessagePort;
port.on('message', async ([request, keys]: [string, readonly SecretKey[]]) => {
  port.postMessage(JSON.stringify(await answer(JSON.parse(request), keys)));
});

async function answer(
  request: CheckRequest,
  keys: readonly SecretKey[],
): Promise<readonly (CheckResult | CopyResult | Narration | Signed)[]> {
  if ('copies' in request) return request.copies.map(copyOf);
  if ('keys' in request) return narrations(request);
  if ('drop' in request)
    return signedIn(directoryStorage(request.root), request.tasks, { ...request, keys });
  const results: CheckResult[] = [];
  for (const { file, claim } of request.tasks) results.push(await check(file, claim));
  return results;
}

async function narrations(request: NarInfoRequest): Promise<readonly Narration[]> {
  const { root, keys, storeDir, believed, sigsNeeded } = request;
  const believedKeys = believed.map(text => parsePublicKey(text, 'that was given'));
  return narrationsIn(directoryStorage(root), keys, { storeDir, keys: believedKeys, sigsNeeded });
}

async function check(file: string, claim: NarClaim): Promise<CheckResult> {
  try {
    return { facts: await checkNar(fileChunks(file, lends(claim)), claim) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { code, message };
  }
}

function copyOf({ from, to, algorithm }: CopyTask): CopyResult {
  const sum = createHash(algorithm);
  let fileSize = 0;
  const chunks = fileChunks(from, true);
  let chunk: IteratorResult<Uint8Array>;
  const next = (): Unread | undefined => {
    try {
      chunk = chunks.next();
      return undefined;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      return { code, message };
    }
  };
  const fd = openSync(to, 'wx');
  try {
    for (;;) {
      const unread = next();
      if (unread) return unread;
      if (chunk!.done) break;
      const bytes = chunk!.value;
      sum.update(bytes);
      writeFully(fd, bytes);
      fileSize += bytes.length;
    }
  } finally {
    closeSync(fd);
  }
  return { fileHash: hashOf(algorithm, sum.digest()), fileSize };
}
