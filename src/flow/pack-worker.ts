/** A packing thread: trees, or NARs of a daemon, in; compressed NARs with all their sums out, in one read of each. */
import { createHash, hash, type Hash as OpenSum } from 'node:crypto';
import { closeSync, openSync, rmSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { codecFor } from '../cache/codec.ts';
import { GranaryError, systemError } from '../errors.ts';
import { debugMembersIn } from '../format/debug-info.ts';
import { type Hash, hashOf } from '../format/hash.ts';
import { type ListingNode, printListing } from '../format/nar-listing.ts';
import { writeFully } from '../storage/write-fully.ts';
import { openContents } from '../store/content.ts';
import {
  blocksAreBig,
  type FromWorker,
  type Packed,
  type PackFailure,
  type PackResult,
  type PackTask,
  type Piece,
  type ToWorker,
  type WorkerStart,
} from './pack-protocol.ts';

const { settings, credits } = workerData as WorkerStart;
const codec = codecFor(settings.compression);
const creditCount = new Int32Array(credits);
const port = parentPort as MessagePort;

/** Blocks are as big as the codec's pieces: each becomes one zstd frame, xz stream, gzip member. */
const blockSize = codec.pieceSize ?? 1 << 20;
/** A block's buffer has room behind it, so that what it compresses to always fits in its place. */
const slack = 64 << 10;
/**
 * Blocks of one path that are away or wait for their turn: bounds what a leader holds. With two of zstd's it stood still
 * until the first came back (1 GiB in one file: 3.00 s, and 2.85 with four).
 */
const window = Math.max(2, Math.min(4, (16 << 20) / blockSize));
const progressStep = 16 << 20;

const spare: ArrayBuffer[] = [];
const nextBlock = (): Buffer =>
  Buffer.from(spare.pop() ?? new ArrayBuffer(blockSize + slack), 0, blockSize);
const recycle = (bytes: Uint8Array): void => {
  const { buffer } = bytes;
  if (spare.length < 2 && buffer.byteLength === blockSize + slack)
    spare.push(buffer as ArrayBuffer);
};

const say = (message: FromWorker, ...moved: Uint8Array[]): void =>
  port.postMessage(
    message,
    moved.map(bytes => bytes.buffer as ArrayBuffer),
  );

const contentNar = openContents();

const awaited = new Map<number, (piece: Piece) => void>();
/**
 * Blocks that other threads have. One that was given away before we began our own comes back at about the time that we are
 * done: of big ones it is waited for, or its thread would have nothing to do while we work on the next alone (96 MiB of
 * xz: 47 s, and 36 with it).
 */
const away = new Set<Promise<Uint8Array>>();
let offers = 0;

port.on('message', async (message: ToWorker) => {
  if (message.type === 'piece') awaited.get(message.id)?.(message);
  else if (message.type === 'compress')
    await compressFor(message.leader, message.id, message.block);
  else say({ type: 'packed', results: await packAll(message.tasks) });
});

async function packAll(tasks: readonly PackTask[]): Promise<PackResult[]> {
  const results: PackResult[] = [];
  for (const task of tasks) {
    try {
      results.push({ packed: await pack(task) });
    } catch (error) {
      rmSync(task.spool, { force: true });
      results.push({ failure: failureOf(error) });
    }
  }
  return results;
}

async function pack(task: PackTask): Promise<Packed> {
  const nar = new Sum();
  let narSize = 0;
  let told = 0;
  let listing: ListingNode | undefined;
  const limit = task.narSize ?? Number.POSITIVE_INFINITY;
  using file = new PackedFile(task.spool);

  async function* blocks(): AsyncGenerator<Buffer> {
    listing = yield* await narOf(task.content);
  }
  const count = (block: Buffer): void => {
    nar.update(block, narSize === 0 && block.length < blockSize);
    narSize += block.length;
    if (narSize > limit)
      throw new GranaryError(
        'corrupt',
        `Cannot read its NAR: more comes than the ${limit} bytes that the store says`,
      );
    if (narSize - told < progressStep) return;
    say({ type: 'progress', narBytes: narSize - told });
    told = narSize;
  };

  if (settings.compression === 'none') {
    for await (const block of blocks()) {
      count(block);
      file.add(block);
      recycle(block);
    }
  } else if (codec.compressStream) {
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const block of blocks()) {
        count(block);
        yield block;
      }
    }
    for await (const bytes of codec.compressStream(counted(), settings.level)) file.add(bytes);
  } else {
    const pieces: Promise<Uint8Array>[] = [];
    const write = async (): Promise<void> => {
      const piece = await pieces.shift()!;
      file.add(piece, narSize < blockSize);
      recycle(piece);
    };
    try {
      for await (const block of blocks()) {
        count(block);
        if (takeCredit()) {
          pieces.push(offer(block));
        } else {
          const begun = [...away];
          pieces.push(Promise.resolve(await compressed(block)));
          if (awaited.size > 0) await setImmediate(); // lets the pieces that came back in
          if (blocksAreBig(blockSize) && begun.length > 0) await Promise.race(begun);
        }
        while (pieces.length > (awaited.size > 0 ? window : 0)) await write();
      }
      while (pieces.length > 0) await write();
    } finally {
      await Promise.allSettled(pieces); // what is away must come back before the next path
    }
  }
  return { ...file.end(nar, narSize, listing), toldBytes: told };
}

/** What only another cache needs is loaded by the first. */
async function narOf(content: PackTask['content']) {
  if ('file' in content) {
    const { unpacked } = await import('./unpacked.ts');
    return unpacked(content, nextBlock);
  }
  return contentNar(content, { block: nextBlock, listing: settings.listing || settings.debugInfo });
}

/** SHA-256. What comes all at once is summed in one go: an object of OpenSSL's costs more than a small file's bytes. */
class Sum {
  #open: OpenSum | undefined;
  #whole: Buffer | undefined;

  update(bytes: Uint8Array, isAll: boolean): void {
    if (isAll) this.#whole = hash('sha256', bytes, 'buffer');
    else {
      this.#open ??= createHash('sha256');
      this.#open.update(bytes);
    }
  }

  hash(): Hash {
    return hashOf('sha256', this.#whole ?? (this.#open ?? createHash('sha256')).digest());
  }
}

/** The compressed file as it grows: in memory while it may be, else in its spool file. */
class PackedFile implements Disposable {
  readonly #spool: string;
  readonly #sum = settings.compression === 'none' ? undefined : new Sum();
  #held: Uint8Array[] = [];
  #size = 0;
  #fd: number | undefined;

  constructor(spool: string) {
    this.#spool = spool;
  }

  add(bytes: Uint8Array, isAll = false): void {
    this.#sum?.update(bytes, isAll);
    this.#size += bytes.length;
    if (this.#fd === undefined && this.#size <= settings.inMemory) {
      this.#held.push(Uint8Array.from(bytes)); // a copy: the buffer goes back to be filled again
      return;
    }
    this.#fd ??= openSync(this.#spool, 'wx');
    for (const held of this.#held.splice(0)) writeFully(this.#fd, held);
    writeFully(this.#fd, bytes);
  }

  end(nar: Sum, narSize: number, listing: ListingNode | undefined): Omit<Packed, 'toldBytes'> {
    const narHash = nar.hash();
    return {
      narHash,
      narSize,
      fileHash: this.#sum?.hash() ?? narHash,
      fileSize: this.#size,
      ...(this.#fd === undefined ? { bytes: new Uint8Array(Buffer.concat(this.#held)) } : {}),
      ...(settings.listing && listing ? { listing: printListing(listing) } : {}),
      ...(settings.debugInfo && listing ? { debugMembers: debugMembersIn(listing) } : {}),
    };
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/** The piece that a block becomes, written in the block's place, so that no other buffer has to travel. */
async function compressed(block: Uint8Array): Promise<Uint8Array> {
  const piece = await codec.compressPiece!(block, settings.level);
  const place = new Uint8Array(block.buffer, 0, piece.length);
  place.set(piece);
  return place;
}

/** Takes the right to put one block on offer, if an idle thread has room. */
function takeCredit(): boolean {
  for (;;) {
    const left = Atomics.load(creditCount, 0);
    if (left <= 0) return false;
    if (Atomics.compareExchange(creditCount, 0, left, left - 1) === left) return true;
  }
}

/** Sends a block away to be compressed; gives its piece. */
function offer(block: Buffer): Promise<Uint8Array> {
  const id = ++offers;
  const coming = new Promise<Uint8Array>((resolve, reject) => {
    awaited.set(id, ({ piece }) => {
      awaited.delete(id);
      away.delete(coming);
      if (piece) resolve(piece);
      else reject(new Error('Another packing thread failed to compress a block'));
    });
    say({ type: 'offer', id, block }, block);
  });
  away.add(coming);
  return coming;
}

async function compressFor(leader: number, id: number, block: Uint8Array): Promise<void> {
  try {
    const piece = await compressed(block);
    say({ type: 'piece', leader, id, piece }, piece);
  } catch {
    say({ type: 'piece', leader, id });
  }
}

function failureOf(error: unknown): PackFailure {
  if (error instanceof GranaryError)
    return { code: error.code, message: error.message, facts: error.facts };
  const { code, message, stack } = error as NodeJS.ErrnoException;
  if (code === undefined) return { message: stack ?? message };
  const { code: kind, message: told, facts } = systemError('write a NAR file', error);
  return { code: kind, message: told, facts: { ...facts, stops: 'all' } };
}
