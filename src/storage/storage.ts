/**
 * A Storage keeps bytes under keys. It knows nothing of Nix.
 *
 * Laws, which one suite proves for every backend (test/storage/conformance.ts):
 * put is all or nothing to every reader · what was put is found · the absent is `undefined`, never
 * an error · deleting twice is fine · list gives each key under the prefix once, in any order · a
 * key is relative, `/`-separated, and cannot climb out · publish shows no entry before those that it comes
 * after, and none before all that was put earlier is safe.
 */
import type { Bytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';

/** What lies under a key, without its bytes. */
export interface Stat {
  /** bytes */
  readonly size: number;
  readonly modified?: Date;
}

/** Something that lies in a storage; `key` may be one that no value can have. */
export interface Thing {
  readonly key: string;
  readonly kind: 'value' | 'empty folder' | 'folder' | 'closed folder' | 'link' | 'other';
  /** bytes, of a value */
  readonly size: number;
}

/** Part of a value: `length` bytes from `start`. */
export interface Span {
  readonly start: number;
  readonly length: number;
}

/** What was found under a key. */
export interface Found {
  /** bytes; not of what comes over a network by a server that does not say it, and is not small */
  readonly size?: number;
  readonly bytes: Bytes;
}

/** Something to put. It may be opened again, so a put may be tried again. */
export interface Body {
  /** bytes */
  readonly size: number;
  /** A temporary file, made under a name from `spool`, that holds the bytes: put may move it away. */
  readonly spool?: string;
  open(): Bytes;
}

export interface Entry {
  readonly key: string;
  readonly body: Body;
  /** Keys of the same batch that it must not be seen before. Not given: all that stand before it. */
  readonly after?: readonly string[];
  /** Is told that it can be seen, where each is put by itself: also of a batch that ends in the middle. */
  readonly shown?: () => void;
}

export interface Storage {
  /** As messages name it. */
  readonly url: string;
  /** Whether each question is a way to go, so that many should be asked at once. */
  readonly isFar?: boolean;
  head(key: string): Promise<Stat | undefined>;
  get(key: string, span?: Span): Promise<Found | undefined>;
  put(key: string, body: Body): Promise<void>;
  /** Puts these, each after what it comes after, and all once no crash can lose what was put before. */
  publish(entries: readonly Entry[]): Promise<void>;
  delete?(key: string): Promise<void>;
  list?(prefix: string): AsyncIterable<Stat & { readonly key: string }>;
  /** What a URL names, read as a reference below this storage's own: where keys are URLs. */
  follow?(reference: string): Promise<Found | undefined>;
  /** The file on this machine that holds the value, where there is one. */
  local?(key: string): string;
  /** All that lies there, also what is no value: what a check of the whole has to see. */
  inventory?(): AsyncIterable<Thing>;
  /** Names of what lies at the top, of every kind. */
  top?(): Promise<readonly string[]>;
  /** A free file name from which put can take a file without copying it; `near` is any key. */
  spool?(near: string): string;
  /** Removes what dead writers left half-written; gives how many files that were. */
  sweep?(): Promise<number>;
  /** Bytes that can still be put, where that is known. */
  free?(): Promise<number>;
}

/** A body that lies in memory. */
export function bodyOf(content: Uint8Array | string): Body {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
  return { size: bytes.length, open: () => [bytes] };
}

/** Refuses a key that is empty, absolute, or climbs. */
export function checkKey(key: string): string {
  if (isKey(key)) return key;
  throw new GranaryError(
    'malformed',
    `Cannot use "${key}" as a key: it is not a plain relative path`,
    {
      key,
    },
  );
}

export const isKey = (key: string): boolean =>
  !key.includes('\0') && !/(^|\/)\.{0,2}(\/|$)/.test(key);

/** Whether a writer of ours left this half-written: `KEY.tmp-HOST-PID-N`. */
export const isTemporaryKey = (key: string): boolean => temporaryName.test(key);

/** HOST and PID of the writer of a temporary. */
export const temporaryName = /\.tmp-([^/]+)-(\d+)-\d+$/;
