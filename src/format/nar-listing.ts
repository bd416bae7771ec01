/**
 * Listings (`<hash>.ls`): the tree in a NAR without its contents, as JSON.
 *
 *     {"version":1,"root":NODE}
 *     NODE = {"type":"directory","entries":{NAME:NODE,…}} | {"type":"symlink","target":TARGET}
 *          | {"type":"regular","size":N,"narOffset":N,"executable":true}
 *
 * `executable` is written only where it is true, as Nix does up to 2.34; from 2.35 on it is always
 * there, and every reader takes both. Names that are not UTF-8 stand there as their raw bytes: not
 * quite JSON, but nothing is lost.
 */
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { isNarName, isNarTarget, limits } from './nar-wire.ts';

/** Names and targets are latin-1. Sizes and offsets are bytes; narOffset is that of the first of content. */
export type ListingNode =
  | { readonly type: 'directory'; readonly entries: ReadonlyMap<string, ListingNode> }
  | {
      readonly type: 'regular';
      readonly size: number;
      readonly executable: boolean;
      readonly narOffset: number;
    }
  | { readonly type: 'symlink'; readonly target: string };

/** The listing's text, as latin-1. */
export const printListing = (root: ListingNode): string =>
  `{"root":${printNode(root)},"version":1}`;

/** Keys in the order in which Nix's JSON library sorts them. */
function printNode(node: ListingNode): string {
  if (node.type === 'symlink') return `{"target":${quote(node.target)},"type":"symlink"}`;
  if (node.type === 'regular') {
    const executable = node.executable ? '"executable":true,' : '';
    return `{${executable}"narOffset":${node.narOffset},"size":${node.size},"type":"regular"}`;
  }
  const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1));
  const printed = entries.map(([name, entry]) => `${quote(name)}:${printNode(entry)}`);
  return `{"entries":{${printed.join(',')}},"type":"directory"}`;
}

/** JSON.stringify escapes no char from U+0080 to U+00FF, so bytes stay bytes. */
const quote = (text: string): string => JSON.stringify(text);

/**
 * Reads a listing, given as latin-1.
 *
 * @throws GranaryError `malformed`
 */
export function parseListing(text: string): ListingNode {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(escapes, escapeToBytes));
  } catch (error) {
    throw new GranaryError(
      'malformed',
      `Cannot read the listing: it is no JSON (${(error as Error).message})`,
      {},
      error,
    );
  }
  const { version, root } = asObject(json, '.');
  if (version !== 1) throw bad('.', 'its version is not 1');
  return parseNode(root, '', 0);
}

function parseNode(json: unknown, path: string, depth: number): ListingNode {
  if (depth >= limits.depth) throw bad(path, 'it is nested too deep');
  const node = asObject(json, path);
  if (node.type === 'symlink') {
    if (typeof node.target === 'string' && isNarTarget(node.target))
      return { type: 'symlink', target: node.target };
    throw bad(path, 'its target is none that a link can have');
  }
  if (node.type === 'regular') {
    const { size = 0, narOffset = 0, executable = false } = node;
    if (!isCount(size) || !isCount(narOffset) || typeof executable !== 'boolean')
      throw bad(path, 'its size, narOffset or executable is wrong');
    return { type: 'regular', size, narOffset, executable };
  }
  if (node.type !== 'directory') throw bad(path, 'it has no type that is known');
  const entries = new Map<string, ListingNode>();
  for (const [name, entry] of Object.entries(asObject(node.entries, `${path}/`))) {
    if (!isNarName(name)) throw bad(`${path}/${name}`, 'that is no name in a NAR');
    entries.set(name, parseNode(entry, `${path}/${name}`, depth + 1));
  }
  return { type: 'directory', entries };
}

/** An escape; a surrogate pair is one. (A run of any length would be too much for a regular expression.) */
const escapes = /\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[0-9a-fA-F]{4}|\\./gs;

/** In latin-1 text an escape above ASCII has to become the bytes of its UTF-8; half a pair has none. */
function escapeToBytes(found: string): string {
  if (!found.startsWith('\\u')) return found;
  const text = JSON.parse(`"${found}"`) as string;
  if (!text.isWellFormed()) throw new SyntaxError(`${found} is no character`);
  return text < '\x80' ? found : Buffer.from(text, 'utf8').toString('latin1');
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

function asObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw bad(path, 'it is no object');
}

const bad = (path: string, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read the listing at "${readable(path)}": ${why}`, {
    path,
  });
