/** What comes over a connection, for who reads it word by word, and for who takes it as it comes. */
import type { Reading } from '../format/daemon-wire.ts';
import type { ListingNode } from '../format/nar-listing.ts';
import { ListingBuilder } from '../format/nar-listing-builder.ts';
import type { NarReader } from '../format/nar-read.ts';
import type { NarEvent } from '../format/nar-wire.ts';
import type { DumpOptions } from './filesystem.ts';

export class Incoming {
  readonly #next: () => Promise<Buffer>;
  /** What came and was not read yet. */
  #rest: Buffer = Buffer.alloc(0);

  /** `next` gives what comes next, or throws. */
  constructor(next: () => Promise<Buffer>) {
    this.#next = next;
  }

  /** Reads what a Reading wants. */
  async read<T>(reading: Reading<T>): Promise<T> {
    let step = reading.next();
    while (!step.done) {
      const size = step.value;
      if (this.#rest.length < size) await this.#gather(size);
      const bytes = this.#rest.subarray(0, size);
      this.#rest = this.#rest.subarray(size);
      step = reading.next(bytes);
    }
    return step.value;
  }

  /** What comes next, however much that is. */
  async chunk(): Promise<Buffer> {
    const rest = this.#rest;
    this.#rest = rest.subarray(rest.length);
    return rest.length > 0 ? rest : await this.#next();
  }

  /** Puts back the end of a chunk. */
  unread(bytes: Buffer): void {
    this.#rest = bytes;
  }

  async #gather(size: number): Promise<void> {
    const chunks = [this.#rest];
    for (let have = this.#rest.length; have < size; ) {
      const chunk = await this.#next();
      chunks.push(chunk);
      have += chunk.length;
    }
    this.#rest = Buffer.concat(chunks);
  }
}

/**
 * The NAR that comes next, in blocks, and at the end its listing. As `dumpTree`: a block that was yielded belongs to
 * the caller, and all but the last are full. `explain` may know better why it is no NAR.
 */
export async function* narBlocks(
  incoming: Pick<Incoming, 'chunk' | 'unread'>,
  reader: NarReader,
  { block, listing }: DumpOptions,
  explain: (error: unknown) => Promise<unknown> = async error => error,
): AsyncGenerator<Buffer, ListingNode | undefined> {
  const builder = new ListingBuilder();
  const pushed = async (chunk: Buffer): Promise<readonly NarEvent[]> => {
    const before = reader.offset;
    try {
      return reader.push(chunk);
    } catch (error) {
      incoming.unread(chunk.subarray(reader.offset - before));
      throw await explain(error);
    }
  };
  let out = block();
  let filled = 0;
  while (!reader.done) {
    const chunk = await incoming.chunk();
    const before = reader.offset;
    const events = await pushed(chunk);
    if (listing) builder.push(events);
    const size = reader.offset - before;
    incoming.unread(chunk.subarray(size));
    for (let at = 0; at < size; ) {
      const copied = chunk.copy(out, filled, at, size);
      at += copied;
      filled += copied;
      if (filled < out.length) continue;
      yield out;
      out = block();
      filled = 0;
    }
  }
  if (filled > 0) yield out.subarray(0, filled);
  return builder.root;
}
