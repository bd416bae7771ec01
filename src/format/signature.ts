/**
 * Signatures, `NAME:BASE64`, and the fingerprint that they sign. Base-64 is read as Nix reads it and
 * kept in the one spelling in which Nix writes it back, so equal signatures are equal strings.
 */
import { latin1, readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { decodeBase64 } from './hash.ts';
import type { PathInfo } from './path-info.ts';

declare const signature: unique symbol;
/** `NAME:BASE64`, of any length: only a key of that name can say whether it is right. */
export type Signature = string & { readonly [signature]: true };

/** @throws GranaryError `malformed` unless there is a name before the first colon, and base-64 behind it */
export function parseSignature(text: string): Signature {
  const colon = text.indexOf(':');
  const bytes = decodeBase64(text.slice(colon + 1));
  if (colon > 0 && bytes?.length)
    return `${text.slice(0, colon)}:${bytes.toString('base64')}` as Signature;
  const message = `Cannot read "${readable(text)}" as a signature: it is no NAME:BASE64`;
  throw new GranaryError('malformed', message, { field: 'Sig' });
}

/** The name of the key that made it. */
export const keyNameOf = (text: Signature): string => text.slice(0, text.indexOf(':'));

/** In the order in which Nix writes them since 2.34: by name, then by bytes. Each is decoded once. */
export function sortedSignatures(signatures: Iterable<Signature>): Signature[] {
  const all = [...signatures];
  if (all.length < 2) return all;
  const decoded = all.map(text => {
    const name = keyNameOf(text);
    return { text, name, bytes: latin1(decodeBase64(text.slice(name.length + 1))!) };
  });
  return decoded
    .sort((a, b) => compare(a.name, b.name) || compare(a.bytes, b.bytes))
    .map(({ text }) => text);
}

/** What a signature of the path signs: URL, compression, deriver and CA are not in it. */
export const fingerprint = ({
  path,
  narHash,
  narSize,
  references,
}: Omit<PathInfo, 'signatures'>): string =>
  `1;${path};${narHash};${narSize};${[...references].sort().join(',')}`;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
