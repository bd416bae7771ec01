/**
 * Signatures, `NAME:BASE64`, and the fingerprint that they sign. Base-64 is read as Nix reads it and
 * kept in the one spelling in which Nix writes it back, so equal signatures are equal strings.
 */
import { readable } from '../bytes.ts';
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

/** The order in which Nix writes them since 2.34: by name, then by bytes. */
export function compareSignatures(a: Signature, b: Signature): number {
  const [nameA, nameB] = [keyNameOf(a), keyNameOf(b)];
  if (nameA !== nameB) return nameA < nameB ? -1 : 1;
  return Buffer.compare(bytesOf(a), bytesOf(b));
}

/** What a signature of the path signs: URL, compression, deriver and CA are not in it. */
export const fingerprint = ({ path, narHash, narSize, references }: PathInfo): string =>
  `1;${path};${narHash};${narSize};${[...references].sort().join(',')}`;

const bytesOf = (text: Signature): Buffer => decodeBase64(text.slice(text.indexOf(':') + 1))!;
