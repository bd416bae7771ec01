/**
 * xz by lzma-native, an optional package that is loaded at first use.
 *
 * It is driven as bare liblzma, on the thread that asks. The package's own streams cut their input
 * at each "YZ", which bytes that are full of it turn into millions of turns of the event loop; they
 * read level 0 as the default; and one big chunk of input comes out of them all at once.
 */

import type { Stream } from 'lzma-native';
import type { Bytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';

type Lzma = typeof import('lzma-native');

/** Enough for every preset's dictionary (64 MiB at most), and for some that are larger. */
const memoryLimit = 256 * 2 ** 20;

/** liblzma makes up to some 7,000 bytes out of one: what goes in at once bounds what comes out. */
const decodeStep = 4096;
const encodeStep = 2 ** 20;

/** One xz stream. */
export async function compressXz(bytes: Uint8Array, level: number): Promise<Uint8Array> {
  const lzma = await load();
  const stream = new lzma.Stream();
  stream.streamEncoder({
    filters: [{ id: lzma.FILTER_LZMA2, options: { preset: level } }],
    check: lzma.CHECK_CRC64,
  });
  stream.setBufsize(encodeStep);
  const run = runner(stream);
  const packed: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += encodeStep)
    packed.push(...run(bytes.subarray(at, at + encodeStep)));
  packed.push(...run(null));
  return Buffer.concat(packed);
}

/** Reads one xz stream or several, with the padding that xz allows between and after them. */
export async function* readXz(bytes: Bytes): AsyncGenerator<Uint8Array> {
  const lzma = await load();
  const stream = new lzma.Stream();
  stream.streamDecoder({ memlimit: memoryLimit, flags: lzma.CONCATENATED });
  const run = runner(stream);
  try {
    for await (const chunk of bytes)
      for (let at = 0; at < chunk.length; at += decodeStep)
        yield* run(chunk.subarray(at, at + decodeStep));
    yield* run(null);
  } finally {
    stream.resetUnderlying();
  }
}

/** Gives a stream some bytes, or null for the end, and takes what comes out. */
function runner(stream: Stream): (bytes: Uint8Array | null) => Uint8Array[] {
  let out: Uint8Array[] = [];
  let failure: unknown;
  stream.bufferHandler = (bytes, _chunks, error) => {
    if (error) failure = error;
    else if (bytes) out.push(bytes);
  };
  return bytes => {
    out = [];
    stream.code(bytes, false);
    if (failure === undefined) return out;
    const reason = failure instanceof Error ? failure.message : String(failure);
    throw new GranaryError('malformed', `Cannot decompress xz: ${reason}`, {}, failure);
  };
}

async function load(): Promise<Lzma> {
  try {
    return (await import('lzma-native')).default;
  } catch (cause) {
    throw new GranaryError(
      'usage',
      'Cannot read or write xz: the optional package lzma-native cannot be loaded; install it, or use zstd',
      {},
      cause,
    );
  }
}
