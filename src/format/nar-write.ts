/**
 * Events to the bytes of a NAR. Nothing invalid comes out: names, order, nesting and sizes are
 * checked as the newest Nix checks them when it reads.
 */

import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import {
  isNarName,
  isNarTarget,
  limits,
  type NarEvent,
  type NarFile,
  padding,
  stringSize,
  tokens,
  writeNumber,
  writeString,
} from './nar-wire.ts';

/** What a NAR is written from: its events, of which the writer knows the offsets itself. */
export type UnplacedEvent = Exclude<NarEvent, NarFile> | Omit<NarFile, 'offset'>;

/**
 * The NAR of a tree. The root comes first and is named ''.
 *
 * @example
 * writeNar([{ type: 'symlink', name: '', target: 'hello' }]);
 */
export function* writeNar(events: Iterable<UnplacedEvent>): Generator<Uint8Array> {
  const directories: { readonly name: string; last: string }[] = [];
  let begun = false;
  let missing = 0;
  let fileSize = 0;

  const refuse = (what: string): GranaryError => {
    const path = readable(
      directories
        .slice(1)
        .map(directory => directory.name)
        .join('/'),
    );
    return new GranaryError('malformed', `Cannot write NAR: ${what} in "${path}"`, { path });
  };

  /** All that stands before a node. */
  const opening = (name: string): Buffer => {
    const parent = directories.at(-1);
    if (parent === undefined) {
      if (begun) throw refuse('a second root');
      if (name !== '') throw refuse(`a root named "${readable(name)}"`);
      begun = true;
      return tokens.magic;
    }
    if (!isNarName(name)) throw refuse(`the invalid name "${readable(name)}"`);
    if (name <= parent.last) throw refuse(`"${readable(name)}" out of order`);
    if (directories.length >= limits.depth) throw refuse('nesting over the maximum depth');
    parent.last = name;
    return Buffer.concat([tokens.entry, string(name), tokens.node]);
  };

  /** All that stands after a node. */
  const closing = (): Buffer =>
    directories.length === 0 ? tokens.close : Buffer.concat([tokens.close, tokens.close]);

  for (const event of events) {
    if (missing > 0 && event.type !== 'data') throw refuse(`a file ${missing} bytes short`);
    switch (event.type) {
      case 'directory':
        yield Buffer.concat([opening(event.name), tokens.directory]);
        directories.push({ name: event.name, last: '' });
        break;
      case 'end':
        if (directories.pop() === undefined) throw refuse('an end without a directory');
        yield closing();
        break;
      case 'symlink':
        if (!isNarTarget(event.target)) throw refuse('an invalid symlink target');
        yield Buffer.concat([opening(event.name), tokens.symlink, string(event.target), closing()]);
        break;
      case 'file': {
        const size = event.size;
        if (!Number.isSafeInteger(size) || size < 0) throw refuse(`a file of ${size} bytes`);
        const token = event.executable ? tokens.executable : tokens.regular;
        yield Buffer.concat([opening(event.name), token, number(size)]);
        if (size === 0) yield closing();
        fileSize = size;
        missing = size;
        break;
      }
      case 'data':
        if (event.bytes.length === 0) break;
        if (event.bytes.length > missing) throw refuse('more bytes than the size of the file');
        missing -= event.bytes.length;
        yield event.bytes;
        if (missing === 0) yield Buffer.concat([Buffer.alloc(padding(fileSize)), closing()]);
        break;
    }
  }
  if (!begun || missing > 0 || directories.length > 0) throw refuse('an end in the middle');
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  writeNumber(bytes, 0, value);
  return bytes;
}

function string(text: string): Buffer {
  const bytes = Buffer.alloc(stringSize(text.length));
  writeString(bytes, 0, text);
  return bytes;
}
