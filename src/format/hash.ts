/**
 * Hashes: read in every spelling that Nix reads, written in one: `algorithm:base-32`.
 *
 *     hash = algorithm ":" (hex | base-32 | base-64), told apart by their lengths
 *          | algorithm "-" base-64                                             (SRI)
 */
import { createHash } from 'node:crypto';
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { decodeBase32, encodeBase32 } from './base32.ts';

declare const hash: unique symbol;
/** `algorithm:base-32`, so equal hashes are equal strings. */
export type Hash = string & { readonly [hash]: true };

const digestSizes = { md5: 16, sha1: 20, sha256: 32, sha512: 64 } as const;
export type HashAlgorithm = keyof typeof digestSizes;

const isAlgorithm = (text: string): text is HashAlgorithm => Object.hasOwn(digestSizes, text);

/** The hash that a digest is. */
export const hashOf = (algorithm: HashAlgorithm, digest: Uint8Array): Hash =>
  `${algorithm}:${encodeBase32(digest)}` as Hash;

/** The SHA-256 of some bytes; a string stands for its latin-1 bytes. */
export const sha256 = (content: Uint8Array | string): Hash =>
  hashOf(
    'sha256',
    createHash('sha256')
      .update(typeof content === 'string' ? Buffer.from(content, 'latin1') : content)
      .digest(),
  );

/** The algorithm by which it was made. */
export const algorithmOf = (value: Hash): HashAlgorithm =>
  value.slice(0, value.indexOf(':')) as HashAlgorithm;

/** The digest, in bytes. */
export const digestOf = (value: Hash): Buffer => decodeBase32(value.slice(value.indexOf(':') + 1))!;

/** The digest in hex, without the algorithm. */
export const hexOf = (value: Hash): string => digestOf(value).toString('hex');

/** What nearly every hash is, and needs no reading: 256 bits are 51 digits and a bit. */
const ourSpelling = /^sha256:[01][0-9abcdfghijklmnpqrsvwxyz]{51}$/;

/**
 * Reads any spelling; `field` is what the message calls it.
 *
 * @throws GranaryError `malformed`
 */
export function parseHash(text: string, field = 'hash'): Hash {
  if (ourSpelling.test(text)) return text as Hash;
  const colon = text.indexOf(':');
  const dash = text.indexOf('-');
  const cut = colon >= 0 ? colon : dash;
  if (cut < 0) throw bad(text, field, 'it names no hash algorithm');
  const algorithm = text.slice(0, cut);
  if (!isAlgorithm(algorithm))
    throw bad(
      text,
      field,
      `"${readable(algorithm)}" is no hash algorithm that Nix knows without experimental features`,
    );
  const digest = decodeDigest(text.slice(cut + 1), algorithm, colon < 0);
  if (!digest) throw bad(text, field, `it is no ${algorithm} in base-16, base-32 or base-64`);
  return hashOf(algorithm, digest);
}

/** Reads a digest whose algorithm is known from elsewhere; `sri` is always base-64. */
function decodeDigest(text: string, algorithm: HashAlgorithm, sri: boolean): Buffer | undefined {
  const size = digestSizes[algorithm];
  if (!sri && text.length === size * 2)
    return /^[0-9a-f]*$/i.test(text) ? Buffer.from(text, 'hex') : undefined;
  if (!sri && text.length === Math.ceil((size * 8) / 5)) return decodeBase32(text);
  if (!sri && text.length !== 4 * Math.ceil(size / 3)) return undefined;
  const digest = decodeBase64(text);
  return digest?.length === size ? digest : undefined;
}

/** Base-64 as Nix reads it: newlines ignored, over at the first `=`, spare bits ignored. */
export function decodeBase64(text: string): Buffer | undefined {
  const [digits = ''] = text.replaceAll('\n', '').split('=', 1);
  return /^[A-Za-z0-9+/]*$/.test(digits) ? Buffer.from(digits, 'base64') : undefined;
}

const bad = (text: string, field: string, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read ${field} "${readable(text)}": ${why}`, { field });
