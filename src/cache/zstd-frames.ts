/**
 * A zstd file as frames (RFC 8878, section 3.1).
 *
 *     file  = one or more of: frame | skippable
 *     frame = magic descriptor [window] [dictionary id] [content size] block+ [checksum]
 *     block = three bytes: last (1 bit), type (2 bits), size (21 bits); then its bytes
 *
 * Several Node versions read the first frame of a file alone, and all ignore what follows the last,
 * without an error either time. So frames are found here, and node:zlib gets one at a time: at once
 * where a frame states a small content, as ours do, else as a stream in bounded memory.
 */

import { constants, createZstdDecompress } from 'node:zlib';
import { type Bytes, keptBytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { blocks, through } from './zlib-stream.ts';
import { zstdContent } from './zstd-context.ts';

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50; // and the fifteen that follow

/** libzstd's own default: what is beyond this, Nix cannot read either. */
const windowLogMax = 27;

/** Frames up to this are taken whole: one of our own pieces, and what incompressible ones add. */
const wholeContent = 4 * 2 ** 20;
const wholeFrame = wholeContent + 2 ** 17;

const streamBlock = 2 ** 18;

export interface ZstdReading {
  /** Whether each side may use its buffers again. */
  readonly lent?: boolean;
  /** Frames that end at or before this byte of the content are passed over, where they state their size. */
  readonly from?: number;
  /** Told of the bytes of content that were passed over. */
  readonly passedOver?: (bytes: number) => void;
}

/**
 * The contents of all frames. With `lent` each side may use its buffers again: a chunk of `bytes`, or a big one that
 * comes out, is good until the next one is asked for.
 */
export async function* readZstd(
  bytes: Bytes,
  { lent = false, from = 0, passedOver }: ZstdReading = {},
): AsyncGenerator<Uint8Array> {
  const cursor = new Cursor(bytes);
  const room = spareRooms.pop() ?? { frame: new Gathered(), content: Buffer.alloc(0) };
  let left = from;
  const isBefore = (size: number): boolean => {
    const before = size <= left;
    left = before ? left - size : 0;
    if (before) passedOver?.(size);
    return before;
  };
  try {
    do yield* readFrame(cursor, room, { lent, isBefore });
    while (!(await cursor.ended()));
  } finally {
    if (spareRooms.length === 0) spareRooms.push(room);
    await cursor.close();
  }
}

/** Room for a frame and its content. The next file is read in the same, so that reading many leaves nothing to collect. */
interface Room {
  readonly frame: Gathered;
  content: Buffer;
}
const spareRooms: Room[] = [];

async function* readFrame(
  cursor: Cursor,
  room: Room,
  { lent, isBefore }: { readonly lent: boolean; readonly isBefore: (size: number) => boolean },
): AsyncGenerator<Uint8Array> {
  const start = cursor.offset;
  const magic = await cursor.exactly(4);
  const number = magic.readUInt32LE(0);
  if (number >= skippableMagic && number < skippableMagic + 16) {
    const size = (await cursor.exactly(4)).readUInt32LE(0);
    for await (const _ of cursor.span(size));
    return;
  }
  if (number !== frameMagic) throw malformed('no frame starts here', start);

  const header = await readHeader(cursor);
  const { contentSize } = header;
  const rest = restOfFrame(cursor, header.checksum);
  if (contentSize === undefined ? isBefore(Number.POSITIVE_INFINITY) : isBefore(contentSize)) {
    for await (const _ of rest);
    return;
  }
  const gathered = room.frame;
  gathered.begin(magic, ...header.parts);
  if (contentSize !== undefined && contentSize <= wholeContent) {
    for (let next = await rest.next(); ; next = await rest.next()) {
      if (next.done) {
        const into = contentRoom(contentSize, lent ? room : undefined);
        const content = decompressWhole(gathered.bytes, into, start);
        if (contentSize > 0) yield content;
        return;
      }
      gathered.add(next.value);
      if (gathered.bytes.length > wholeFrame) break;
    }
  }
  const engine = createZstdDecompress({
    chunkSize: streamBlock,
    params: { [constants.ZSTD_d_windowLogMax]: windowLogMax },
  });
  const frame = (async function* () {
    yield gathered.bytes;
    yield* rest;
  })();
  yield* through(engine, blocks(frame, streamBlock), 'zstd');
}

/** A byte more than the content. What is small is in a buffer of its own: who was lent it may keep it. */
function contentRoom(size: number, room: Room | undefined): Buffer {
  if (!room || size <= keptBytes) return Buffer.allocUnsafe(size + 1);
  if (room.content.length <= size) room.content = Buffer.allocUnsafeSlow(size + 1);
  return room.content.subarray(0, size + 1);
}

function decompressWhole(frame: Buffer, into: Buffer, start: number): Uint8Array {
  let size: number;
  try {
    size = zstdContent(frame, into);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw malformed(reason, start, error);
  }
  if (size !== into.length - 1) throw malformed('a frame states another content size', start);
  return into.subarray(0, size);
}

interface Header {
  readonly parts: readonly Buffer[];
  readonly contentSize: number | undefined;
  readonly checksum: boolean;
}

async function readHeader(cursor: Cursor): Promise<Header> {
  const start = cursor.offset;
  const descriptor = await cursor.exactly(1);
  const flags = descriptor[0]!;
  const singleSegment = (flags & 0x20) !== 0;
  const sizeFlag = flags >> 6;
  if (flags & 0x08) throw malformed('a reserved bit of a frame is set', start);

  const window = await cursor.exactly(singleSegment ? 0 : 1);
  const dictionary = await cursor.exactly([0, 1, 2, 4][flags & 3]!);
  const content = await cursor.exactly([singleSegment ? 1 : 0, 2, 4, 8][sizeFlag]!);
  if (dictionary.some(byte => byte !== 0)) throw malformed('a frame needs a dictionary', start);

  const contentSize = content.length === 0 ? undefined : readSize(content);
  const windowSize = singleSegment ? contentSize! : windowOf(window[0]!);
  if (windowSize > 2 ** windowLogMax)
    throw malformed(`a frame needs a window over ${2 ** windowLogMax} bytes`, start);
  return {
    parts: [descriptor, window, dictionary, content],
    contentSize,
    checksum: (flags & 0x04) !== 0,
  };
}

/** The content size of a frame. Those over 2^53 lose digits, which no comparison here minds. */
function readSize(field: Buffer): number {
  if (field.length === 8) return Number(field.readBigUInt64LE(0));
  return field.readUIntLE(0, field.length) + (field.length === 2 ? 256 : 0);
}

const windowOf = (descriptor: number): number =>
  2 ** (10 + (descriptor >> 3)) * (1 + (descriptor & 7) / 8);

/** The blocks of a frame and its checksum, in parts as large as the chunks allow. */
async function* restOfFrame(cursor: Cursor, checksum: boolean): AsyncGenerator<Buffer> {
  for (let last = false; !last; ) {
    const whole = wholeBlocks(cursor.atHand);
    if (whole.size > 0) {
      yield cursor.take(whole.size);
      last = whole.last;
      continue;
    }
    const start = cursor.offset;
    const head = await cursor.exactly(3);
    const block = parseBlock(head, 0);
    if (block === undefined) throw malformed('a block has the reserved type', start);
    yield head;
    yield* cursor.span(block.size);
    last = block.last;
  }
  if (checksum) yield await cursor.exactly(4);
}

/** How much of some bytes is whole blocks of one frame, and whether they end it. */
function wholeBlocks(bytes: Buffer): { readonly size: number; readonly last: boolean } {
  let size = 0;
  let last = false;
  while (!last && size + 3 <= bytes.length) {
    const block = parseBlock(bytes, size);
    if (block === undefined || size + 3 + block.size > bytes.length) break;
    size += 3 + block.size;
    last = block.last;
  }
  return { size, last };
}

/** What the three bytes before a block say: of a repeated byte (type 1), only one is there. */
function parseBlock(
  bytes: Buffer,
  at: number,
): { readonly size: number; readonly last: boolean } | undefined {
  const word = bytes.readUIntLE(at, 3);
  const type = (word >> 1) & 3;
  if (type === 3) return undefined;
  return { size: type === 1 ? 1 : word >> 3, last: (word & 1) === 1 };
}

/** Parts put together in one buffer, which is used again for the next. */
class Gathered {
  #buffer = Buffer.alloc(0);
  #size = 0;

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#size);
  }

  begin(...parts: readonly Buffer[]): void {
    this.#size = 0;
    for (const part of parts) this.add(part);
  }

  add(part: Buffer): void {
    const size = this.#size + part.length;
    if (size > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(size, 2 * this.#buffer.length));
      this.#buffer.copy(larger, 0, 0, this.#size);
      this.#buffer = larger;
    }
    part.copy(this.#buffer, this.#size);
    this.#size = size;
  }
}

/** Bytes that are taken by count. What ends before its count is malformed. */
class Cursor {
  offset = 0;
  readonly #chunks: AsyncGenerator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(bytes: Bytes) {
    this.#chunks = (async function* () {
      yield* bytes;
    })();
  }

  /** The bytes that can be had without waiting. */
  get atHand(): Buffer {
    return this.#chunk;
  }

  /** Whether there are no more bytes. */
  async ended(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#chunks.next();
      if (done) return true;
      this.#chunk = Buffer.from(value.buffer, value.byteOffset, value.length);
    }
    return false;
  }

  /** Up to `size` of the bytes at hand. */
  take(size: number): Buffer {
    const part = this.#chunk.subarray(0, size);
    this.#chunk = this.#chunk.subarray(part.length);
    this.offset += part.length;
    return part;
  }

  /** The next `size` bytes as they come. */
  async *span(size: number): AsyncGenerator<Buffer> {
    for (let left = size; left > 0; ) {
      if (await this.ended()) throw malformed('it ends in the middle', this.offset);
      const part = this.take(left);
      left -= part.length;
      yield part;
    }
  }

  /** The next few bytes in one piece. */
  async exactly(size: number): Promise<Buffer> {
    const bytes = Buffer.alloc(size); // a copy: the chunk may be gone before it is looked at
    let filled = 0;
    if (this.#chunk.length >= size) this.take(size).copy(bytes);
    else for await (const part of this.span(size)) filled += part.copy(bytes, filled);
    return bytes;
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined);
  }
}

const malformed = (what: string, byte: number, cause?: unknown): GranaryError =>
  new GranaryError('malformed', `Cannot decompress zstd: ${what}`, { byte }, cause);
