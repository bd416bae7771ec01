/**
 * The streams of node:zlib as generators that do not end early: they leave bytes after the end of
 * their data unread, without a word, so here all that was given must have been read.
 */

import { pipeline, Readable, type Transform } from 'node:stream';
import type { Bytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';

/** A compressor or decompressor of node:zlib. `bytesWritten` is what it has read of its input. */
type Engine = Transform & { readonly bytesWritten: number };

/** What an engine makes of bytes; `what` names the compression in errors. */
export async function* through(
  engine: Engine,
  bytes: Bytes,
  what: string,
): AsyncGenerator<Uint8Array> {
  let given = 0;
  let sourceFailed = false;
  async function* counted(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of bytes) {
        given += chunk.length;
        if (chunk.length > 0) yield chunk;
      }
    } catch (error) {
      sourceFailed = true;
      throw error;
    }
  }
  // The callback has nothing to do: an error of either side is thrown by reading the engine.
  pipeline(Readable.from(counted(), { highWaterMark: 1 }), engine, () => {});
  try {
    yield* engine as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (sourceFailed || error instanceof GranaryError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new GranaryError('malformed', `Cannot decompress ${what}: ${reason}`, {}, error);
  }
  if (engine.bytesWritten < given)
    throw new GranaryError('malformed', `Cannot decompress ${what}: bytes follow its end`, {
      byte: engine.bytesWritten,
    });
}

/** The same bytes in chunks of exactly `size`, the last one excepted. */
export async function* blocks(bytes: Bytes, size: number): AsyncGenerator<Uint8Array> {
  let block = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + size - filled);
      block.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < size) continue;
      yield block;
      block = Buffer.allocUnsafeSlow(size);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
