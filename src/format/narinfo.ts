/**
 * narinfo: what a cache knows of a path. Read as the newest described Nix reads it, written in its
 * order. Text is latin-1: Nix does not ask for UTF-8, and no byte may be lost.
 *
 *     name  = all up to the next colon, newlines included
 *     value = all from two bytes after the colon's place up to the next newline
 *
 * So a blank line is part of the next field's name, which nobody knows then; the byte behind the
 * colon is skipped unseen; and a `References:` without its blank takes the whole next line.
 */
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { type Hash, parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { compareSignatures, parseSignature, type Signature } from './signature.ts';
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

export interface NarInfo extends PathInfo {
  readonly file: PackedNar;
  /** As it was read, so that what it has beyond our fields can be kept. latin-1. */
  readonly text: string;
}

export const narInfoKey = (path: StorePath): string => `${hashPart(path)}.narinfo`;

/** @throws GranaryError `malformed`, with the field and its line */
export function parseNarInfo(text: string, storeDir: StoreDir): NarInfo {
  const fields: Fields = { references: [], signatures: new Set() };
  for (const { name, value, line } of fieldsOf(text)) {
    try {
      parsers[name]?.(fields, value, storeDir);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      const { message, facts } = error;
      throw new GranaryError(
        'malformed',
        `Cannot read the narinfo, line ${line}, ${name}: ${message}`,
        {
          ...facts,
          field: name,
          line,
        },
      );
    }
  }
  const { path, narHash, url, narSize, deriver, ca, fileHash, fileSize, references } = fields;
  if (path === undefined) throw missing('StorePath');
  if (narHash === undefined) throw missing('NarHash');
  if (!url) throw missing('URL');
  if (!narSize) throw missing('NarSize');
  return {
    path,
    narHash,
    narSize,
    references,
    ...(deriver === undefined ? {} : { deriver }),
    ...(ca === undefined ? {} : { ca }),
    signatures: [...fields.signatures].sort(compareSignatures),
    file: {
      url,
      compression: fields.compression ?? 'bzip2',
      ...(fileHash === undefined ? {} : { fileHash }),
      ...(fileSize === undefined ? {} : { fileSize }),
    },
    text,
  };
}

/** @throws GranaryError `malformed` for a value that would break the grammar */
export function printNarInfo(info: PathInfo, file: PackedNar): string {
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
    ...[...new Set(info.signatures)].sort(compareSignatures).map(sig => ['Sig', sig] as const),
    ['CA', info.ca],
  ];
  let text = '';
  for (const [name, value] of lines) {
    if (value === undefined) continue;
    if (/[\n\r]/.test(String(value)))
      throw new GranaryError(
        'malformed',
        `Cannot write a narinfo: ${name} has a line break in it`,
        {
          field: name,
        },
      );
    text += `${name}: ${value}\n`;
  }
  return text;
}

/** A narinfo without Compression means bzip2, and so does an empty one. */
export function parseCompression(text = ''): Compression {
  const found = compressions.find(name => name === (text || 'bzip2'));
  if (found) return found;
  throw new GranaryError('malformed', `Cannot read "${text}" as a compression`, {
    field: 'Compression',
  });
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
  deriver?: StorePath | undefined;
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
      into.deriver = value === 'unknown-deriver' ? undefined : parseBaseName(value, storeDir);
    },
    Sig: (into, value) => {
      into.signatures.add(parseSignature(value));
    },
    CA: (into, value) => {
      if (into.ca !== undefined) throw again('CA');
      if (value !== '') into.ca = parseContentAddress(value);
    },
  };

function* fieldsOf(text: string): Generator<{ name: string; value: string; line: number }> {
  let line = 1;
  for (let at = 0; at < text.length; ) {
    const colon = text.indexOf(':', at);
    if (colon < 0) throw broken(line, 'there is no colon');
    const name = text.slice(at, colon);
    line += count(name);
    const end = text.indexOf('\n', colon + 2);
    if (end < 0) throw broken(line, 'there is no newline at its end');
    const value = text.slice(colon + 2, end);
    yield { name, value, line };
    line += count(text.slice(colon, end + 1));
    at = end + 1;
  }
}

const count = (text: string): number => text.split('\n').length - 1;

/** As boost::lexical_cast reads an unsigned number: digits, a plus before them at most. */
function parseSize(text: string): number {
  const size = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(size)) return size;
  throw new GranaryError('malformed', `"${text}" is no size in bytes`);
}

const again = (name: string): GranaryError =>
  new GranaryError('malformed', `there is a second ${name}`);
const missing = (name: string): GranaryError =>
  new GranaryError('malformed', `Cannot read the narinfo: ${name} is missing`, { field: name });
const broken = (line: number, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read the narinfo, line ${line}: ${why}`, { line });
