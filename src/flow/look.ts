/**
 * Looks into the NAR of one path without restoring it: what is in it, and the bytes of one file. A listing
 * and zstd frames spare most of the work. Nothing is proven: that is what `verify` is for.
 */

import { readable } from '../bytes.ts';
import { listingKey, longText, readText } from '../cache/cache.ts';
import { codecFor } from '../cache/codec.ts';
import { readZstd } from '../cache/zstd-frames.ts';
import { GranaryError } from '../errors.ts';
import { type ListingNode, parseListing } from '../format/nar-listing.ts';
import { ListingBuilder } from '../format/nar-listing-builder.ts';
import { NarReader } from '../format/nar-read.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { Storage } from '../storage/storage.ts';

/** The tree of a path: from its listing, or else from its NAR. */
export async function treeOf(storage: Storage, info: NarInfo): Promise<ListingNode> {
  const text = await readText(storage, listingKey(info.path), longText);
  if (text !== undefined) return parseListing(text);
  const reader = new NarReader();
  const builder = new ListingBuilder();
  for await (const chunk of narBytes(storage, info)) {
    builder.push(reader.push(chunk));
    if (reader.done) break;
  }
  reader.end();
  return builder.root!;
}

export interface Found {
  /** Its place in the tree, latin-1; empty for the root. */
  readonly name: string;
  readonly node: ListingNode;
}

/** A place in a path, as messages name it. */
export const placeText = (path: string, name: string): string =>
  readable(name === '' ? path : `${path}/${name}`);

/** Links are followed as often as Linux would. */
const mostLinks = 40;

/**
 * What lies at a place in the tree; links that stay in it are followed.
 *
 * @throws GranaryError `absent` naming how far it goes, or where a link leads out
 */
export function findIn(root: ListingNode, place: string, path: string): Found {
  const refuse = (name: string, why: string): GranaryError =>
    new GranaryError('absent', `Cannot find ${placeText(path, name)}: ${why}`, { path });
  let links = 0;
  const at: Found[] = [{ name: '', node: root }];
  const todo = place.split('/');
  while (todo.length > 0) {
    const part = todo.shift()!;
    if (part === '' || part === '.') continue;
    const here = at.at(-1)!;
    if (part === '..') {
      if (at.length === 1) throw refuse(place, 'it leads out of the path');
      at.pop();
      continue;
    }
    const name = here.name === '' ? part : `${here.name}/${part}`;
    const entries = here.node.type === 'directory' ? here.node.entries : undefined;
    const node = entries?.get(part);
    if (!node) throw refuse(name, entries ? 'there is no such entry' : 'it lies below no folder');
    if (node.type !== 'symlink') {
      at.push({ name, node });
      continue;
    }
    if (todo.length === 0) return { name, node };
    links += 1;
    if (links > mostLinks) throw refuse(name, 'its links go in a circle');
    if (node.target.startsWith('/')) throw refuse(name, `it is a link to ${readable(node.target)}`);
    todo.unshift(...node.target.split('/'));
  }
  return at.at(-1)!;
}

/** The same, and if that is a link, what it leads to. */
export function findFile(root: ListingNode, place: string, path: string): Found {
  let found = findIn(root, place, path);
  for (let links = 0; found.node.type === 'symlink'; links++) {
    const { target } = found.node;
    if (links > mostLinks || target.startsWith('/'))
      throw new GranaryError(
        'absent',
        `Cannot read ${placeText(path, found.name)}: it is a link to ${readable(target)}`,
        { path },
      );
    const folder = found.name.replace(/\/?[^/]*$/, '');
    found = findIn(root, folder === '' ? target : `${folder}/${target}`, path);
  }
  return found;
}

/** The bytes of a regular file, as its listing places it. */
export async function* fileBytes(
  storage: Storage,
  info: NarInfo,
  { narOffset, size }: { readonly narOffset: number; readonly size: number },
): AsyncGenerator<Uint8Array> {
  if (size === 0) return;
  let offset = 0;
  const end = narOffset + size;
  const chunks = narBytes(storage, info, narOffset, passed => {
    offset += passed;
  });
  for await (const chunk of chunks) {
    const part = chunk.subarray(Math.max(0, narOffset - offset), Math.max(0, end - offset));
    if (part.length > 0) yield part;
    offset += chunk.length;
    if (offset >= end) return;
  }
  throw new GranaryError(
    'corrupt',
    `Cannot read a file of ${info.path}: the NAR in ${info.file.url} ends before it`,
    { path: info.path },
  );
}

/** The NAR, decompressed from about a byte on; what is passed over before it is told. */
async function* narBytes(
  storage: Storage,
  info: NarInfo,
  from = 0,
  passedOver: (bytes: number) => void = () => {},
): AsyncGenerator<Uint8Array> {
  const { url, compression } = info.file;
  const codec = codecFor(compression);
  const span = compression === 'none' ? { start: from, length: info.narSize - from } : undefined;
  const found = await storage.get(url, span);
  if (!found)
    throw new GranaryError('absent', `Cannot read ${info.path}: ${url} is not in ${storage.url}`, {
      key: url,
    });
  if (compression === 'none') passedOver(from);
  const chunks =
    compression === 'zstd'
      ? readZstd(found.bytes, { from, passedOver })
      : codec.decompress(found.bytes, info.narSize);
  let room = info.narSize;
  for await (const chunk of chunks) {
    room -= chunk.length;
    if (room < 0)
      throw new GranaryError(
        'corrupt',
        `Cannot read ${info.path}: ${url} holds more than the NarSize of ${info.narSize}`,
        { key: url },
      );
    yield chunk;
  }
}
