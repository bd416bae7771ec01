/**
 * The compressions of a cache: one table of how each is named, made and read.
 *
 * zstd, gzip and xz files are concatenations: each piece of a NAR becomes a frame, member or stream
 * of its own, which every described Nix reads. So pieces can be made side by side, and the same
 * input gives the same bytes. Brotli has no such form, and is one stream.
 *
 * Reading trusts nothing. Memory is bounded whatever a file states, no more than a limit comes out,
 * and bytes that are missing or left over are refused: node:zlib by itself ends silently at both.
 */

import {
  constants,
  createBrotliCompress,
  createBrotliDecompress,
  createGunzip,
  gzipSync,
} from 'node:zlib';
import { type Bytes, release } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { compressXz, readXz } from './xz.ts';
import { blocks, through } from './zlib-stream.ts';
import { zstdFrame } from './zstd-context.ts';
import { readZstd } from './zstd-frames.ts';

/** The compressions that are written, and so far the ones that are read. */
export type WritableCompression = 'zstd' | 'xz' | 'gzip' | 'br' | 'none';

/** One compression. It has `compressPiece` where pieces may be joined, else `compressStream`. */
export interface Codec {
  /** What follows `.nar` in a file name. */
  readonly extension: string;
  readonly levels:
    | { readonly min: number; readonly max: number; readonly usual: number }
    | undefined;
  /** How many bytes of a NAR make a piece, the last one excepted. An empty NAR is one empty piece. */
  readonly pieceSize: number | undefined;
  /** What it gives is lent: good until the next call. */
  compressPiece?(bytes: Uint8Array, level: number): Uint8Array | Promise<Uint8Array>;
  compressStream?(bytes: Bytes, level: number): AsyncIterable<Uint8Array>;
  /**
   * Throws `malformed` for what is not this, and `corrupt` after `limit` bytes if more would come out. Chunks of over
   * `keptBytes` may be `lent`: gone when the next is asked for.
   */
  decompress(bytes: Bytes, limit: number, lent?: boolean): AsyncGenerator<Uint8Array>;
}

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const streamBlock = 256 * KiB;

/** Every compression that can be written. */
export const codecs: Readonly<Record<WritableCompression, Codec>> = {
  zstd: {
    extension: '.zst',
    levels: { min: 1, max: 22, usual: 3 },
    // As fast as smaller ones, and within 1 % of one frame's size: on 50,000 small files 2 MiB take 2 % more.
    pieceSize: 4 * MiB,
    compressPiece: zstdFrame,
    decompress: (bytes, limit, lent = false) => limited(readZstd(bytes, { lent }), limit),
  },
  xz: {
    extension: '.xz',
    levels: { min: 0, max: 9, usual: 6 },
    // One and a half of level 6's dictionaries: of 96 MiB it makes 1.3 % more than 24 MiB do, and two threads share them well.
    pieceSize: 12 * MiB,
    compressPiece: async (bytes, level) => lent(await compressXz(bytes, level)),
    decompress: (bytes, limit) => limited(readXz(bytes), limit),
  },
  gzip: {
    extension: '',
    levels: { min: 1, max: 9, usual: 6 },
    pieceSize: 2 * MiB,
    compressPiece: (bytes, level) =>
      lent(gzipSync(bytes, { level, chunkSize: gzipBound(bytes.length) })),
    decompress: (bytes, limit) =>
      limited(through(createGunzip({ chunkSize: streamBlock }), bytes, 'gzip'), limit),
  },
  br: {
    extension: '.br',
    levels: { min: 0, max: 11, usual: 5 },
    pieceSize: undefined,
    // The two lowest levels cut where their input is cut: equal blocks make equal files.
    compressStream: (bytes, level) =>
      through(createBrotliCompress(brotliOptions(level)), blocks(bytes, MiB), 'br'),
    decompress: (bytes, limit) =>
      limited(through(createBrotliDecompress({ chunkSize: streamBlock }), bytes, 'br'), limit),
  },
  none: {
    extension: '',
    levels: undefined,
    pieceSize: 2 * MiB,
    compressPiece: bytes => bytes,
    decompress: limited,
  },
};

/** The codec of a narinfo's Compression. */
export function codecFor(compression: string): Codec {
  if (Object.hasOwn(codecs, compression)) return codecs[compression as WritableCompression];
  const known = Object.keys(codecs).join(', ');
  throw new GranaryError('usage', `Cannot read compression ${compression}: known are ${known}`, {
    field: 'Compression',
  });
}

const brotliOptions = (level: number) => ({
  chunkSize: streamBlock,
  params: { [constants.BROTLI_PARAM_QUALITY]: level, [constants.BROTLI_PARAM_LGWIN]: 24 },
});

const gzipBound = (size: number): number => size + Math.ceil(size / 1000) + 128;

let lentLast: Uint8Array = new Uint8Array();

/**
 * Gives back what was lent before: V8 would let 64 MiB of such memory gather in every thread, and collecting it by hand
 * each 8 MiB took a sixth of the CPU time.
 */
function lent(piece: Uint8Array): Uint8Array {
  release(lentLast);
  lentLast = piece;
  return piece;
}

async function* limited(bytes: Bytes, limit: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of bytes) {
    const room = limit - size;
    size += chunk.length;
    if (size > limit && room > 0) yield chunk.subarray(0, room);
    if (size > limit)
      throw new GranaryError('corrupt', `Cannot decompress: over ${limit} bytes come out`, {
        expected: limit,
      });
    yield chunk;
  }
}
