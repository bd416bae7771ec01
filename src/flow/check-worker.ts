/** A checking thread: reads NAR files of this machine and says what they are. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { checkNar, type NarClaim, type NarFacts } from '../cache/nar-check.ts';

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

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const chunkSize = 256 << 10;
/** As in pack-worker.ts: the buffers of node:zlib wait for a collection. */
const collectEvery = 16 << 20;
let uncollected = 0;

const port = parentPort as MessagePort;
port.on('message', async (tasks: readonly CheckTask[]) => {
  const results: CheckResult[] = [];
  for (const { file, claim } of tasks) results.push(await check(file, claim));
  port.postMessage(results);
});

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
    if (!fstatSync(fd).isFile())
      throw Object.assign(new Error('It is no file'), { code: 'EINVAL' });
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(chunkSize);
      const count = readSync(fd, chunk, 0, chunkSize, null);
      if (count === 0) return;
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
