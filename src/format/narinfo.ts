/**
 * narinfo: what a cache knows of a path. Read as the newest described Nix reads it, written in its
 * order. Text is latin-1: Nix does not ask for UTF-8, and no byte may be lost.
 *
 *     name  = all up to the next colon, newlines included
 *     value = all from two bytes after the colon's place up to the next newline
 *
 * So a blank line is part of the next field's name, which nobody knows then; the byte behind the
 * colon is skipped unseen; and a `References:` without its blank takes the whole next line. Of equal
 * fields the last one counts, but a second References or CA is an error.
 */
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { algorithmOf, type Hash, parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { parseSignature, type Signature, sortedSignatures } from './signature.ts';
import {
  baseName,
  hashPart,
  normalizeStorePath,
  parseBaseName,
  type StoreDir,
  type StorePath,
} from './store-path.ts';

/** The names that Nix knows; what we read and write of them, cache/codec.ts says. */
const compressions = [
  'none',
  'br',
  'bzip2',
  'compress',
  'grzip',
  'gzip',
  'lrzip',
  'lz4',
  'lzip',
  'lzma',
  'lzop',
  'xz',
  'zstd',
] as const;
export type Compression = (typeof compressions)[number];

/** The compressed file: no signature covers it. */
export interface PackedNar {
  /** For a `file://` cache a key, taken literally. */
  readonly url: string;
  readonly compression: Compression;
  readonly fileHash?: Hash;
  /** bytes */
  readonly fileSize?: number;
}

/** One of which all is known. */
export type KnownFile = PackedNar & { readonly fileSize: number };

/** A path, the file that holds it, and the text that says so. */
export interface NarInfo extends PathInfo {
  readonly file: PackedNar;
  /** As it was read, so that what it has beyond our fields can be kept. latin-1. */
  readonly text: string;
}

/** What is kept of very many: signatures and texts would be most of the memory. */
export type BareInfo = Omit<NarInfo, 'signatures' | 'text'>;

/** Where a cache keeps the narinfo of a path. */
export const narInfoKey = (path: StorePath): string => `${hashPart(path)}.narinfo`;

/**
 * Reads a narinfo, given as latin-1.
 *
 * @throws GranaryError `malformed`, with the field and its line
 */
export function parseNarInfo(text: string, storeDir: StoreDir): NarInfo {
  const fields: Fields = { references: [], signatures: new Set() };
  for (const { name, value, colon } of fieldsOf(text)) {
    try {
      parsers[name]?.(fields, value, storeDir);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      const { message, facts } = error;
      const line = lineAt(text, colon);
      const where = `Cannot read the narinfo, line ${line}, ${name}`;
      throw new GranaryError('malformed', `${where}: ${message}`, { ...facts, field: name, line });
    }
  }
  const { path, narHash, url, narSize, deriver, ca, fileHash, fileSize, references } = fields;
  if (path === undefined) throw missing('StorePath');
  if (narHash === undefined) throw missing('NarHash');
  if (!url) throw missing('URL');
  if (!narSize) throw missing('NarSize', 'missing or zero');
  return {
    path,
    narHash,
    narSize,
    references,
    ...(deriver === undefined ? {} : { deriver }),
    ...(ca === undefined ? {} : { ca }),
    signatures: sortedSignatures(fields.signatures),
    file: {
      url,
      compression: fields.compression ?? 'bzip2',
      ...(fileHash === undefined ? {} : { fileHash }),
      ...(fileSize ? { fileSize } : {}), // 0 is Nix's word for unknown
    },
    text,
  };
}

/**
 * The narinfo's text, as latin-1: what is read back from it is what went in.
 *
 * @throws GranaryError `malformed` for what Nix could not read back or, a hash other than SHA-256,
 * not write again
 */
export function printNarInfo(info: PathInfo, file: PackedNar): string {
  if (file.url === '') throw unwritable('URL', 'is empty');
  if (!Number.isSafeInteger(info.narSize) || info.narSize <= 0)
    throw unwritable('NarSize', `is ${info.narSize}`);
  for (const [field, hash] of [
    ['NarHash', info.narHash],
    ['FileHash', file.fileHash],
  ] as const)
    if (hash !== undefined && algorithmOf(hash) !== 'sha256')
      throw unwritable(field, 'is no SHA-256');
  const lines: (readonly [string, string | number | undefined])[] = [
    ['StorePath', info.path],
    ['URL', file.url],
    ['Compression', file.compression],
    ['FileHash', file.fileHash],
    ['FileSize', file.fileSize],
    ['NarHash', info.narHash],
    ['NarSize', info.narSize],
    ['References', [...new Set(info.references)].map(baseName).sort().join(' ')],
    ['Deriver', info.deriver && baseName(info.deriver)],
    ...sortedSignatures(new Set(info.signatures)).map(sig => ['Sig', sig] as const),
    ['CA', info.ca],
  ];
  let text = '';
  for (const [name, value] of lines) {
    if (value === undefined) continue;
    if (/[^\x00-\xff]|[\n\r]/.test(`${value}`))
      throw unwritable(name, 'has a line break or is no latin-1');
    text += `${name}: ${value}\n`;
  }
  return text;
}

/** A narinfo without Compression means bzip2, and so does an empty one. */
export function parseCompression(text = ''): Compression {
  const found = compressions.find(name => name === (text || 'bzip2'));
  if (found) return found;
  const message = `Cannot read "${readable(text)}" as a compression: Nix knows ${compressions.join(', ')}`;
  throw new GranaryError('malformed', message, { field: 'Compression' });
}

interface Fields {
  path?: StorePath;
  url?: string;
  compression?: Compression;
  fileHash?: Hash;
  fileSize?: number;
  narHash?: Hash;
  narSize?: number;
  references: readonly StorePath[];
  deriver?: StorePath;
  signatures: Set<Signature>;
  ca?: PathInfo['ca'];
}

const parsers: Readonly<Record<string, (into: Fields, value: string, storeDir: StoreDir) => void>> =
  {
    __proto__: null as never,
    StorePath: (into, value, storeDir) => {
      into.path = normalizeStorePath(value, storeDir);
    },
    URL: (into, value) => {
      into.url = value;
    },
    Compression: (into, value) => {
      into.compression = parseCompression(value);
    },
    FileHash: (into, value) => {
      into.fileHash = parseHash(value, 'FileHash');
    },
    FileSize: (into, value) => {
      into.fileSize = parseSize(value);
    },
    NarHash: (into, value) => {
      into.narHash = parseHash(value, 'NarHash');
    },
    NarSize: (into, value) => {
      into.narSize = parseSize(value);
    },
    References: (into, value, storeDir) => {
      if (into.references.length > 0) throw again('References');
      const names = value.split(' ').filter(Boolean);
      into.references = [...new Set(names.map(name => parseBaseName(name, storeDir)))].sort();
    },
    Deriver: (into, value, storeDir) => {
      if (value !== 'unknown-deriver') into.deriver = parseBaseName(value, storeDir);
    },
    Sig: (into, value) => {
      into.signatures.add(parseSignature(value));
    },
    CA: (into, value) => {
      if (into.ca !== undefined) throw again('CA');
      if (value !== '') into.ca = parseContentAddress(value);
    },
  };

interface Field {
  readonly name: string;
  readonly value: string;
  readonly colon: number;
  /** Where it begins in the text, and where the next one does. */
  readonly start: number;
  readonly end: number;
}

/** The fields of a narinfo, known or not, as Nix cuts them. */
export function* fieldsOf(text: string): Generator<Field> {
  for (let at = 0; at < text.length; ) {
    const colon = text.indexOf(':', at);
    if (colon < 0) throw broken(lineAt(text, at), 'there is no colon');
    const end = text.indexOf('\n', colon + 2);
    if (end < 0) throw broken(lineAt(text, colon), 'there is no newline at its end');
    const [name, value] = [text.slice(at, colon), text.slice(colon + 2, end)];
    yield { name, value, colon, start: at, end: end + 1 };
    at = end + 1;
  }
}

const lineAt = (text: string, at: number): number => text.slice(0, at).split('\n').length;

/** As boost::lexical_cast reads an unsigned number: digits, a plus before them at most. */
function parseSize(text: string): number {
  const size = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(size)) return size;
  throw new GranaryError('malformed', `"${readable(text)}" is no size in bytes`);
}

const again = (name: string): GranaryError =>
  new GranaryError('malformed', `there is a second ${name}`);
const missing = (name: string, what = 'missing'): GranaryError =>
  new GranaryError('malformed', `Cannot read the narinfo: ${name} is ${what}`, { field: name });
const unwritable = (name: string, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot write a narinfo: its ${name} ${why}`, { field: name });
const broken = (line: number, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read the narinfo, line ${line}: ${why}`, { line });

/** Names of fields that a blank line before them hides: it became part of their name. */
export function hiddenFields(text: string): string[] {
  const hidden: string[] = [];
  for (const { name } of fieldsOf(text)) {
    const last = name.slice(name.lastIndexOf('\n') + 1);
    if (last.length < name.length && Object.hasOwn(parsers, last)) hidden.push(last);
  }
  return hidden;
}
