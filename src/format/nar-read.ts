/**
 * The bytes of a NAR to events, as strictly as the newest Nix reads: fields in their one order,
 * `contents` always there, zeros alone as padding, entries strictly increasing, and the limits of
 * nar-wire. Nothing is allocated by a stated size: what is kept between chunks is one name or
 * target, the names of the open directories, and the place inside a token.
 */

import { type Bytes, readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import {
  isNarName,
  isNarTarget,
  limits,
  type NarEvent,
  padding,
  tokens,
  wordAt,
} from './nar-wire.ts';

/** The places of the grammar, each as the tokens that may stand there. */
const magic = [tokens.magic];
const node = [tokens.regular, tokens.executable, tokens.symlink, tokens.directory];
const member = [tokens.entry, tokens.close];
const entryNode = [tokens.node];
const nodeEnd = [tokens.close];
const entryEnd = [tokens.close];

/**
 * A parser that is given chunks and returns what they hold.
 *
 * @example
 * const reader = new NarReader();
 * for (const chunk of chunks) for (const event of reader.push(chunk)) use(event);
 * reader.end();
 */
export class NarReader {
  #state: 'token' | 'length' | 'text' | 'contents' | 'padding' | 'done' = 'token';
  #offset = 0;
  /** The place, the first of its tokens that agrees with what was read, and how much that is. */
  #place = magic;
  #token: Buffer = tokens.magic;
  #matched = 0;
  /** What has a length: its kind, the length, the factor of its next digit, and what is to come. */
  #kind: 'name' | 'target' | 'file' = 'file';
  #length = 0;
  #factor = 1;
  #left = 0;
  #text = '';
  #executable = false;
  /** The node in hand, and the open directories, each with the entry that it had last. */
  #name = '';
  readonly #open: { readonly name: string; last: string }[] = [];

  /** Whether the end of the root was read. Nothing after it is looked at. */
  get done(): boolean {
    return this.#state === 'done';
  }

  /** How many bytes were read: once done, the size of the NAR. */
  get offset(): number {
    return this.#offset;
  }

  /** The events of the next chunk. Their `data` are parts of it, not copies. */
  push(chunk: Uint8Array): NarEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const events: NarEvent[] = [];
    for (let at = 0; at < bytes.length && this.#state !== 'done'; ) {
      const next = this.#step(bytes, at, events);
      this.#offset += next - at;
      at = next;
    }
    return events;
  }

  /** Throws `malformed` unless the NAR is complete. */
  end(): void {
    if (!this.done) throw this.#malformed('it ends in the middle');
  }

  /** Reads something, and returns the position after it. */
  #step(bytes: Buffer, at: number, events: NarEvent[]): number {
    switch (this.#state) {
      case 'token':
        return this.#readToken(bytes, at, events);
      case 'length':
        return this.#readLength(bytes, at, events);
      case 'text':
        return this.#readText(bytes, at, events);
      case 'contents':
        return this.#readContents(bytes, at, events);
      case 'padding':
        return this.#readPadding(bytes, at, events);
      case 'done':
        return bytes.length;
    }
  }

  #expect(place: Buffer[]): void {
    this.#state = 'token';
    this.#place = place;
    this.#token = place[0]!;
    this.#matched = 0;
  }

  #readToken(bytes: Buffer, start: number, events: NarEvent[]): number {
    let token = this.#token;
    let matched = this.#matched;
    let at = start;
    for (; at < bytes.length && matched < token.length; at++, matched++)
      if (bytes[at] !== token[matched])
        token = this.#otherToken(token, matched, bytes[at]!, at - start);
    this.#token = token;
    this.#matched = matched;
    if (matched === token.length) this.#afterToken(events, at - start);
    return at;
  }

  /** The token of this place that begins as `token` does, and goes on with `byte`. */
  #otherToken(token: Buffer, matched: number, byte: number, ahead: number): Buffer {
    const alike = (size: number): Buffer[] =>
      this.#place.filter(other => other.subarray(0, size).equals(token.subarray(0, size)));
    const other = alike(matched).find(other => other[matched] === byte);
    if (other !== undefined) return other;
    if (this.#place === magic) throw this.#malformed('it does not begin as one', ahead);
    const { start } = wordAt(token, matched);
    const words = new Set(alike(start).map(other => wordAt(other, start).word));
    throw this.#malformed(`"${[...words].join('" or "')}" has to stand here`, ahead);
  }

  #afterToken(events: NarEvent[], ahead: number): void {
    const place = this.#place;
    if (place === magic || place === entryNode) this.#expect(node);
    else if (place === node) this.#beginNode(events);
    else if (place === nodeEnd) this.#expectAfterNode();
    else if (place === entryEnd) this.#expect(member);
    else if (this.#token === tokens.entry) this.#beginEntry(ahead);
    else this.#endDirectory(events);
  }

  #beginNode(events: NarEvent[]): void {
    switch (this.#token) {
      case tokens.directory:
        events.push({ type: 'directory', name: this.#name });
        this.#open.push({ name: this.#name, last: '' });
        this.#name = '';
        this.#expect(member);
        break;
      case tokens.symlink:
        this.#measure('target');
        break;
      default:
        this.#executable = this.#token === tokens.executable;
        this.#measure('file');
    }
  }

  #beginEntry(ahead: number): void {
    if (this.#open.length >= limits.depth)
      throw this.#malformed(`it nests over ${limits.depth} nodes deep`, ahead);
    this.#measure('name');
  }

  #endDirectory(events: NarEvent[]): void {
    events.push({ type: 'end' });
    this.#open.pop();
    this.#expectAfterNode();
  }

  #expectAfterNode(): void {
    this.#name = '';
    if (this.#open.length > 0) this.#expect(entryEnd);
    else this.#state = 'done';
  }

  #measure(kind: 'name' | 'target' | 'file'): void {
    this.#state = 'length';
    this.#kind = kind;
    this.#length = 0;
    this.#factor = 1;
  }

  #readLength(bytes: Buffer, start: number, events: NarEvent[]): number {
    let at = start;
    while (at < bytes.length && this.#factor < 2 ** 64) {
      this.#length += bytes[at]! * this.#factor;
      this.#factor *= 256;
      at += 1;
    }
    if (this.#factor === 2 ** 64) this.#afterLength(events, at - start);
    return at;
  }

  #afterLength(events: NarEvent[], ahead: number): void {
    const length = this.#length;
    this.#left = length;
    if (this.#kind === 'file') {
      if (!Number.isSafeInteger(length)) throw this.#malformed('a file has an absurd size', ahead);
      events.push({
        type: 'file',
        name: this.#name,
        size: length,
        executable: this.#executable,
        offset: this.#offset + ahead,
      });
      if (length > 0) this.#state = 'contents';
      else this.#expect(nodeEnd);
      return;
    }
    if (length === 0) throw this.#malformed(`a ${this.#kind} is empty`, ahead);
    if (length > limits[this.#kind])
      throw this.#malformed(`a ${this.#kind} has over ${limits[this.#kind]} bytes`, ahead);
    this.#state = 'text';
    this.#text = '';
  }

  #readText(bytes: Buffer, at: number, events: NarEvent[]): number {
    const end = Math.min(at + this.#left, bytes.length);
    this.#text += bytes.toString('latin1', at, end);
    this.#left -= end - at;
    if (this.#left === 0) {
      if (this.#kind === 'name') this.#checkName(end - at);
      else if (!isNarTarget(this.#text))
        throw this.#malformed(`"${readable(this.#text)}" is no target of a link`, end - at);
      this.#pad(events);
    }
    return end;
  }

  #checkName(ahead: number): void {
    const directory = this.#open.at(-1)!;
    const name = this.#text;
    if (!isNarName(name)) throw this.#malformed(`"${readable(name)}" is no name`, ahead);
    if (name <= directory.last)
      throw this.#malformed(
        `"${readable(name)}" follows "${readable(directory.last)}", out of order`,
        ahead,
      );
    directory.last = name;
    this.#name = name;
  }

  #readContents(bytes: Buffer, at: number, events: NarEvent[]): number {
    const data = bytes.subarray(at, at + this.#left);
    events.push({ type: 'data', bytes: data });
    this.#left -= data.length;
    if (this.#left === 0) this.#pad(events);
    return at + data.length;
  }

  #pad(events: NarEvent[]): void {
    this.#state = 'padding';
    this.#left = padding(this.#length);
    if (this.#left === 0) this.#afterPadding(events);
  }

  #readPadding(bytes: Buffer, at: number, events: NarEvent[]): number {
    if (bytes[at] !== 0) throw this.#malformed('its padding is not zero');
    this.#left -= 1;
    if (this.#left === 0) this.#afterPadding(events);
    return at + 1;
  }

  #afterPadding(events: NarEvent[]): void {
    if (this.#kind === 'target')
      events.push({ type: 'symlink', name: this.#name, target: this.#text });
    this.#expect(this.#kind === 'name' ? entryNode : nodeEnd);
  }

  /** An error `ahead` bytes after the last step. */
  #malformed(what: string, ahead = 0): GranaryError {
    const byte = this.#offset + ahead;
    const names = [...this.#open.map(directory => directory.name), this.#name];
    const path = readable(names.filter(name => name !== '').join('/'));
    const where = path === '' ? '' : ` of "${path}"`;
    return new GranaryError('malformed', `Cannot read NAR: ${what}, at byte ${byte}${where}`, {
      byte,
      path,
    });
  }
}

/**
 * The events of a NAR, to the end of its root. Like Nix, it does not look at what follows:
 * whoever has to know compares the size.
 */
export async function* readNar(bytes: Bytes): AsyncGenerator<NarEvent> {
  const reader = new NarReader();
  for await (const chunk of bytes) {
    yield* reader.push(chunk);
    if (reader.done) return;
  }
  reader.end();
}
