/** A checking thread: reads NAR files of this machine and says what they are, or whether signatures hold. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { checkNar, type NarClaim, type NarFacts } from '../cache/nar-check.ts';
import { heldBy, parsePublicKey } from '../format/key.ts';
import type { Signature } from '../format/signature.ts';

/**
 * Files to read, or texts with the keys that may have signed them. It comes as JSON, and so does the answer:
 * that takes a third of the time of a structured clone.
 */
export type CheckRequest =
  | { readonly tasks: readonly CheckTask[] }
  | { readonly texts: readonly SignedText[]; readonly keys: readonly string[] };

/** One file to check. */
export interface CheckTask {
  readonly file: string;
  readonly claim: NarClaim;
}

export type CheckResult = { readonly facts: NarFacts } | Unread;

/** A fingerprint, and the signatures of it. */
export interface SignedText {
  readonly text: string;
  readonly signatures: readonly Signature[];
}

/** Why a file cannot be read. */
export interface Unread {
  readonly code: string;
  readonly message: string;
}

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const chunkSize = 256 << 10;
/** As in pack-worker.ts: the buffers of node:zlib wait for a collection. */
const collectEvery = 16 << 20;
let uncollected = 0;

const port = parentPort as MessagePort;
port.on('message', async (request: string) => {
  port.postMessage(JSON.stringify(await answer(JSON.parse(request))));
});

async function answer(
  request: CheckRequest,
): Promise<readonly CheckResult[] | readonly (readonly boolean[])[]> {
  if ('texts' in request) {
    const keys = request.keys.map(key => parsePublicKey(key, 'that was given'));
    return request.texts.map(({ text, signatures }) => heldBy(keys, signatures, text));
  }
  const results: CheckResult[] = [];
  for (const { file, claim } of request.tasks) results.push(await check(file, claim));
  return results;
}

async function check(file: string, claim: NarClaim): Promise<CheckResult> {
  try {
    return { facts: await checkNar(chunksOf(file), claim) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { code, message };
  }
}

function* chunksOf(file: string): Generator<Uint8Array> {
  const fd = openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw Object.assign(new Error('It is no file'), { code: 'EINVAL' });
    for (let left = stat.size; ; ) {
      const chunk = Buffer.allocUnsafe(left < 0 ? chunkSize : Math.min(left + 1, chunkSize));
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) return;
      left -= count;
      uncollected += count;
      if (uncollected >= collectEvery) {
        uncollected = 0;
        globalThis.gc?.();
      }
      yield chunk.subarray(0, count);
    }
  } finally {
    closeSync(fd);
  }
}
