/**
 * What a compressed NAR really is, found in one pass that believes nothing: no more than a limit is
 * decompressed, and nothing is allocated by a size that is stated.
 */
import { createHash, hash, type Hash as OpenSum } from 'node:crypto';
import { type Bytes, keptBytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { ModuloSum } from '../format/content-address.ts';
import { type Hash, type HashAlgorithm, hashOf } from '../format/hash.ts';
import { printListing } from '../format/nar-listing.ts';
import { ListingBuilder } from '../format/nar-listing-builder.ts';
import { NarReader } from '../format/nar-read.ts';
import type { NarEvent } from '../format/nar-wire.ts';
import { codecFor } from './codec.ts';

/** What a file should be, as far as it takes to read it. */
export interface NarClaim {
  readonly compression: string;
  /** The greatest NarSize that is stated: no byte beyond it is decompressed. */
  readonly limit: number;
  /** Builds the listing, which takes memory, if it can have no more bytes than this; 0 for none. */
  readonly listingLimit: number;
  /** Files to look for in it, by their paths. */
  readonly members: readonly string[];
  /** Hash parts, where the NAR's hash without them is asked for. */
  readonly selves: readonly string[];
  /** Algorithms beside SHA-256, where the NAR's hash by them is asked for. */
  readonly nars: readonly HashAlgorithm[];
  /** Algorithms, where the hash of a single file's content is asked for. */
  readonly contents: readonly HashAlgorithm[];
}

export interface NarFacts {
  readonly fileHash: Hash;
  readonly fileSize: number;
  /** The compression that the first bytes tell of, where they do. */
  readonly looksLike?: string;
  /** Of all that came out of it; undefined when it did not come to its end. */
  readonly narHash?: Hash;
  readonly narSize?: number;
  readonly fault?: NarFault;
  /** latin-1; empty when it is longer than its limit. */
  readonly listing?: string;
  /** Those of the members that are regular files in it. */
  readonly members: readonly string[];
  /** By hash part. */
  readonly moduloHashes: Readonly<Record<string, Hash>>;
  /** By algorithm. */
  readonly narHashes: Readonly<Record<string, Hash>>;
  /** By algorithm; empty when the NAR is not of a single file. */
  readonly contentHashes: Readonly<Record<string, Hash>>;
}

export interface NarFault {
  /**
   * `unread`: a compression that we cannot read · `data`: it does not decompress to its end · `nar`:
   * what comes out is no NAR · `long`: the NAR goes on beyond the limit · `trailing`: bytes follow it
   */
  readonly kind: 'unread' | 'data' | 'nar' | 'long' | 'trailing';
  readonly message: string;
}

/** Checks one file, to its last byte. Fails only when the bytes cannot be had. */
export async function checkNar(bytes: Bytes, claim: NarClaim): Promise<NarFacts> {
  const nar = checkedNar(bytes, claim, true);
  for (;;) {
    const { done, value } = await nar.next();
    if (done) return value;
  }
}

/**
 * The NAR that comes out of one file, and at the end what it really is: nobody may believe it before. Big chunks are
 * gone when the next is asked for, if they may be `lent`.
 */
export async function* checkedNar(
  bytes: Bytes,
  claim: NarClaim,
  lent = false,
): AsyncGenerator<Uint8Array, NarFacts> {
  const file = new Sum('sha256');
  const out = new Outcome(claim);
  let fileSize = 0;
  let looksLike: string | undefined;
  let fault: NarFault | undefined;
  let unread: { readonly error: unknown } | undefined;
  async function* tapped(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of bytes) {
        if (fileSize === 0) looksLike = compressionOf(chunk);
        file.update(chunk);
        fileSize += chunk.length;
        yield chunk;
      }
    } catch (error) {
      unread = { error };
      throw error;
    }
  }
  const input = tapped();
  let ended = false;
  try {
    try {
      const nar = codecFor(claim.compression).decompress(keptOpen(input), claim.limit, lent);
      for await (const chunk of nar) {
        out.push(chunk);
        yield chunk;
      }
      ended = true;
      fault = out.fault();
    } catch (error) {
      if (unread) throw unread.error; // which says nothing about the file
      fault = { kind: kindOf(error, out.narIsDone), message: (error as Error).message };
    }
    for await (const _ of input); // the file's own hash is of all of it, whatever came out
  } finally {
    await input.return(undefined); // where nobody wants the rest
  }
  const fileHash = hashOf('sha256', file.digest());
  return {
    fileHash,
    fileSize,
    ...(looksLike === undefined ? {} : { looksLike }),
    ...(fault === undefined ? {} : { fault }),
    ...out.facts(ended, fileHash),
  };
}

/** The least that an entry takes of a listing: `"a":{"type":"symlink","target":"b"}`. */
const listedBytes = 24;

/** The NAR as it comes out: all its sums, and what it holds. */
class Outcome {
  /** None for what is not compressed: the file is the NAR, and summed already. */
  readonly #nar: Sum | undefined;
  readonly #reader = new NarReader();
  readonly #modulo: ReadonlyMap<string, ModuloSum>;
  readonly #nars: ReadonlyMap<HashAlgorithm, Sum>;
  readonly #contents: ReadonlyMap<HashAlgorithm, Sum>;
  readonly #members: MemberFinder | undefined;
  #listing: ListingBuilder | undefined;
  #listingRoom: number;
  #narSize = 0;
  #grammar: NarFault | undefined;
  #isSingleFile = false;

  constructor({ compression, listingLimit, members, selves, nars, contents }: NarClaim) {
    this.#nar = compression === 'none' ? undefined : new Sum('sha256');
    this.#listing = listingLimit > 0 ? new ListingBuilder() : undefined;
    this.#listingRoom = listingLimit;
    this.#members = members.length > 0 ? new MemberFinder(members) : undefined;
    this.#modulo = new Map(selves.map(self => [self, new ModuloSum(self)]));
    this.#nars = new Map(nars.map(algorithm => [algorithm, new Sum(algorithm)]));
    this.#contents = new Map(contents.map(algorithm => [algorithm, new Sum(algorithm)]));
  }

  get narIsDone(): boolean {
    return this.#reader.done;
  }

  push(chunk: Uint8Array): void {
    this.#nar?.update(chunk);
    for (const sum of this.#modulo.values()) sum.update(chunk);
    for (const sum of this.#nars.values()) sum.update(chunk);
    this.#narSize += chunk.length;
    if (this.#grammar || this.#reader.done) return;
    try {
      const events = this.#reader.push(chunk);
      this.#addListing(events);
      this.#members?.push(events);
      if (this.#contents.size > 0) this.#addContent(events);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      this.#grammar = { kind: 'nar', message: error.message };
    }
  }

  /** What is wrong with a NAR that has come out to its end. */
  fault(): NarFault | undefined {
    if (this.#grammar) return this.#grammar;
    if (!this.#reader.done) return { kind: 'nar', message: 'The NAR ends in the middle' };
    const after = this.#narSize - this.#reader.offset;
    return after === 0 ? undefined : { kind: 'trailing', message: `${after} bytes follow the NAR` };
  }

  facts(ended: boolean, fileHash: Hash): Omit<NarFacts, 'fileHash' | 'fileSize'> {
    const root = this.#listing?.root;
    const listing = this.#listingRoom < 0 ? '' : root && printListing(root);
    return {
      ...(ended ? { narHash: this.#hash(fileHash), narSize: this.#narSize } : {}),
      ...(ended && listing !== undefined ? { listing } : {}),
      members: [...(this.#members?.found ?? [])],
      moduloHashes: Object.fromEntries(
        [...this.#modulo].map(([self, sum]) => [self, sum.digest()]),
      ),
      narHashes: digests(this.#nars),
      contentHashes: this.#isSingleFile ? digests(this.#contents) : {},
    };
  }

  #hash(fileHash: Hash): Hash {
    return this.#nar ? hashOf('sha256', this.#nar.digest()) : fileHash;
  }

  #addListing(events: readonly NarEvent[]): void {
    if (!this.#listing) return;
    for (const { type } of events)
      if (type !== 'data' && type !== 'end') this.#listingRoom -= listedBytes;
    if (this.#listingRoom < 0) this.#listing = undefined;
    else this.#listing.push(events);
  }

  #addContent(events: readonly NarEvent[]): void {
    for (const event of events) {
      if (event.type === 'file' && event.name === '') this.#isSingleFile = true;
      if (event.type === 'data' && this.#isSingleFile)
        for (const sum of this.#contents.values()) sum.update(event.bytes);
    }
  }
}

/**
 * A sum of chunks, of which big ones may be lent. A single small one is summed in one go: OpenSSL's object costs more
 * than a small file's bytes, and its memory waits for a collection.
 */
class Sum {
  readonly #algorithm: HashAlgorithm;
  #first: Uint8Array | undefined;
  #open: OpenSum | undefined;

  constructor(algorithm: HashAlgorithm) {
    this.#algorithm = algorithm;
  }

  update(chunk: Uint8Array): void {
    if (this.#open) this.#open.update(chunk);
    else if (!this.#first && chunk.buffer.byteLength <= keptBytes) this.#first = chunk;
    else {
      this.#open = createHash(this.#algorithm);
      if (this.#first) this.#open.update(this.#first);
      this.#open.update(chunk);
      this.#first = undefined;
    }
  }

  digest(): Buffer {
    return this.#open?.digest() ?? hash(this.#algorithm, this.#first ?? '', 'buffer');
  }
}

/** Looks for some regular files among a NAR's events. */
class MemberFinder {
  readonly found = new Set<string>();
  readonly #wanted: ReadonlySet<string>;
  readonly #folders: string[] = []; // where we are, the nameless root first

  constructor(members: readonly string[]) {
    this.#wanted = new Set(members);
  }

  push(events: readonly NarEvent[]): void {
    for (const event of events) {
      if (event.type === 'directory') this.#folders.push(event.name);
      else if (event.type === 'end') this.#folders.pop();
      else if (event.type === 'file') {
        const path = [...this.#folders.slice(1), event.name].join('/');
        if (this.#wanted.has(path)) this.found.add(path);
      }
    }
  }
}

const digests = (sums: ReadonlyMap<HashAlgorithm, Sum>): Readonly<Record<string, Hash>> =>
  Object.fromEntries([...sums].map(([name, sum]) => [name, hashOf(name, sum.digest())]));

/** The same bytes for a reader that may stop early: what it leaves can still be read after it. */
const keptOpen = (input: AsyncGenerator<Uint8Array>): AsyncIterable<Uint8Array> => ({
  [Symbol.asyncIterator]: () => ({ next: () => input.next() }),
});

function kindOf(error: unknown, narIsDone: boolean): NarFault['kind'] {
  const { code } = error as { code?: string };
  if (code === 'usage') return 'unread';
  if (code === 'corrupt') return narIsDone ? 'trailing' : 'long';
  if (code === 'malformed') return 'data';
  throw error;
}

const beginnings: readonly (readonly [string, string])[] = [
  ['zstd', '28b52ffd'],
  ['xz', 'fd377a585a00'],
  ['gzip', '1f8b'],
  ['bzip2', '425a68'],
  ['lzip', '4c5a4950'],
  ['lz4', '04224d18'],
  ['none', '0d000000000000006e69782d617263686976652d31'],
];

function compressionOf(chunk: Uint8Array): string | undefined {
  const hex = Buffer.from(chunk.subarray(0, 32)).toString('hex');
  return beginnings.find(([, beginning]) => hex.startsWith(beginning))?.[0];
}
