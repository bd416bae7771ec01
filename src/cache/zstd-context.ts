/**
 * libzstd frame by frame, in contexts that are used again.
 *
 * The functions of node:zlib make a context and a buffer for each call, which V8 then has to collect: a small frame costs
 * 20 µs and more so, and 2.5 in a context that is there. So this drives the handle below node:zlib's streams, as npm's
 * own minizlib does. That is no documented interface: in a Node that has another, the functions of node:zlib do the same.
 */
import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';

let compressor: { readonly context: Context; readonly level: number } | undefined;
let decompressor: Context | undefined;
let room = Buffer.alloc(0);

/** One frame that states its content's size. It is good until the next call. */
export function zstdFrame(content: Uint8Array, level: number): Uint8Array {
  const params = paramsOf(level);
  if (compressor?.level !== level)
    compressor = { context: new Context(createZstdCompress({ params })), level };
  const most = frameBound(content.length);
  if (room.length < most) room = Buffer.allocUnsafeSlow(most);
  const size = compressor.context.run(content, room);
  if (size !== undefined) return room.subarray(0, size);
  return zstdCompressSync(content, { chunkSize: most, pledgedSrcSize: content.length, params });
}

/**
 * Writes the content of one whole frame into `into`, which has at least one byte more room than that, and gives its size.
 *
 * @throws libzstd's error, or RangeError where it is not one frame
 */
export function zstdContent(frame: Uint8Array, into: Uint8Array): number {
  decompressor ??= new Context(createZstdDecompress());
  try {
    const size = decompressor.run(frame, into);
    if (size !== undefined) return size;
  } catch (error) {
    decompressor = undefined; // it may be in the middle of that frame
    throw error;
  }
  const content = zstdDecompressSync(frame, {
    chunkSize: Math.max(into.length, constants.Z_MIN_CHUNK),
    maxOutputLength: into.length,
  });
  into.set(content);
  return content.length;
}

/**
 * Level 3, the usual one, gets half of its hash table, which then stays in the processor's cache: packages take 4 % less
 * time for 0.5 % more bytes.
 */
const paramsOf = (level: number): Record<number, number> => ({
  [constants.ZSTD_c_compressionLevel]: level,
  ...(level === 3 ? { [constants.ZSTD_c_hashLog]: 16 } : {}),
});

/** A stream of node:zlib, as far as it is driven from here. After a write `_writeState` tells what room and what input is left. */
interface Engine {
  readonly _handle?: { readonly writeSync?: Write };
  readonly _writeState?: readonly [room: number, left: number];
  readonly errored: Error | null;
  on(event: 'error', listener: () => void): unknown;
}

type Write = (
  ...words: [
    ...[flush: number, from: Uint8Array, fromAt: number, fromSize: number],
    ...[into: Uint8Array, intoAt: number, intoSize: number],
  ]
) => void;

class Context {
  readonly #engine: Engine;

  constructor(engine: object) {
    this.#engine = engine as Engine;
    this.#engine.on('error', () => {}); // it is thrown
  }

  /** What all of `bytes` become, at once; gives its size in `into`, or undefined where Node is another one. */
  run(bytes: Uint8Array, into: Uint8Array): number | undefined {
    const { _handle: handle, _writeState: state } = this.#engine;
    if (typeof handle?.writeSync !== 'function' || state?.length !== 2) return undefined;
    handle.writeSync(constants.ZSTD_e_end, bytes, 0, bytes.length, into, 0, into.length);
    if (this.#engine.errored) throw this.#engine.errored;
    const [room, left] = state;
    if (left > 0 || room === 0) throw new RangeError('It is not one frame');
    return into.length - room;
  }
}

/** What zstd may make of so many bytes, and a byte more. */
const frameBound = (size: number): number =>
  size + Math.ceil(size / 256) + Math.max(0, Math.ceil(((128 << 10) - size) / 2048)) + 64;
