/** A file of a cache on this machine, read by a thread. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { keptBytes } from '../bytes.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const chunkSize = 256 << 10;
/** The buffers of node:zlib wait for a collection. */
const collectEvery = 16 << 20;
let uncollected = 0;
let shared: Buffer | undefined;

/**
 * The bytes of a file. Chunks that are `lent` are of one buffer for all files, and leave nothing to collect: only one
 * such file may be read at a time.
 *
 * @throws the system's error; EINVAL for what is no file
 */
export function* fileChunks(file: string, lent: boolean): Generator<Uint8Array> {
  const fd = openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw Object.assign(new Error('It is no file'), { code: 'EINVAL' });
    for (let left = stat.size; ; ) {
      const chunk = nextChunk(Math.min(left < 0 ? chunkSize : left + 1, chunkSize), lent);
      const count = readSync(fd, chunk, 0, chunk.length, null);
      if (count === 0) return;
      left -= count;
      if (!lent) collectAfter(count);
      yield chunk.subarray(0, count);
    }
  } finally {
    closeSync(fd);
  }
}

function nextChunk(size: number, lent: boolean): Buffer {
  if (!lent || size <= keptBytes) return Buffer.allocUnsafe(size);
  shared ??= Buffer.allocUnsafeSlow(chunkSize);
  return shared;
}

function collectAfter(bytes: number): void {
  uncollected += bytes;
  if (uncollected < collectEvery) return;
  uncollected = 0;
  globalThis.gc?.();
}
