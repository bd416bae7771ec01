/**
 * What the main thread and its packing threads say to each other.
 *
 * A pack thread that has a big path offers blocks of it to threads that have none. The main thread
 * only passes messages; `credits` tells in shared memory how many blocks may be on offer at once, so
 * a leader that finds none compresses the block by itself instead of waiting.
 */
import type { WritableCompression } from '../cache/codec.ts';
import type { ErrorCode, ErrorFacts } from '../errors.ts';
import type { Hash } from '../format/hash.ts';
import type { BareInfo } from '../format/narinfo.ts';
import type { Content } from '../store/store.ts';

export interface PackSettings {
  readonly compression: WritableCompression;
  readonly level: number;
  readonly listing: boolean;
  /** Whether to tell of files with debug information. */
  readonly debugInfo: boolean;
  /** Bytes of a compressed file that come back in memory; a bigger one lies in its spool file. */
  readonly inMemory: number;
}

/** A NAR file of a cache on this machine, and what its narinfo says: it is unpacked, proven, and packed anew. */
export interface PackedContent {
  readonly file: string;
  readonly info: BareInfo;
}

/** What to pack, and a file name for a result too big for memory. */
export interface PackTask {
  readonly content: Content | PackedContent;
  /** The NAR has no more bytes, or is another one. */
  readonly narSize?: number;
  readonly spool: string;
}

export interface Packed {
  readonly narHash: Hash;
  readonly narSize: number;
  readonly fileHash: Hash;
  readonly fileSize: number;
  /** The compressed file, or undefined when it lies in the task's spool file. */
  readonly bytes?: Uint8Array;
  /** latin-1 */
  readonly listing?: string;
  /** Its files with debug information. */
  readonly debugMembers?: readonly string[];
  /** How many of its NAR bytes were told as progress before it was done. */
  readonly toldBytes: number;
}

export interface PackFailure {
  /** undefined: not a GranaryError, so a bug */
  readonly code?: ErrorCode;
  readonly message: string;
  readonly facts?: ErrorFacts;
}

export type PackResult = { readonly packed: Packed } | { readonly failure: PackFailure };

/** A block of NAR on its way to the thread that compresses it. */
interface Offer {
  readonly id: number;
  readonly block: Uint8Array;
}

/** The same buffer on its way back, with the piece in the block's place. */
export interface Piece {
  readonly id: number;
  /** undefined: that thread could not compress the block */
  readonly piece?: Uint8Array;
}

export type ToWorker =
  | { readonly type: 'pack'; readonly tasks: readonly PackTask[] }
  | ({ readonly type: 'compress'; readonly leader: number } & Offer)
  | ({ readonly type: 'piece' } & Piece);

export type FromWorker =
  | { readonly type: 'packed'; readonly results: readonly PackResult[] }
  | { readonly type: 'progress'; readonly narBytes: number }
  | ({ readonly type: 'offer' } & Offer)
  | ({ readonly type: 'piece'; readonly leader: number } & Piece);

export interface WorkerStart {
  readonly settings: PackSettings;
  /** One Int32: how many blocks idle threads can still take. */
  readonly credits: SharedArrayBuffer;
}

/**
 * Blocks that one idle thread takes at once: one to work on, two to go on with while the leader is busy. Of big ones, which
 * take seconds, the first alone: else one thread gets three of four, and 96 MiB of xz take 54 s in place of 36.
 */
export const creditsPerThread = (blockSize: number): number => (blocksAreBig(blockSize) ? 1 : 3);

/** Whether each takes seconds. */
export const blocksAreBig = (blockSize: number): boolean => blockSize > 8 << 20;
