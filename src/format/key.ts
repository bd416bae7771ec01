/**
 * Keys, as Nix keeps them: `NAME:BASE64`, an Ed25519 secret key being 64 bytes (seed, then public
 * half), a public one 32. As in Nix, whatever follows the base-64's `=` is ignored, a line break at
 * the end included. Unlike in Nix, a key file that begins with a blank line is refused: there the line
 * break becomes part of the name, and every narinfo that is signed with it is broken.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { GranaryError } from '../errors.ts';
import { ed25519 } from './ed25519.ts';
import { decodeBase64 } from './hash.ts';
import { keyNameOf, parseSignature, type Signature } from './signature.ts';

export interface PublicKey {
  readonly name: string;
  /** `NAME:BASE64` */
  readonly text: string;
  /** 32 of them. */
  readonly bytes: Buffer;
}

/** Its text is nowhere in it: a secret cannot be printed by mistake. */
export interface SecretKey {
  readonly name: string;
  readonly publicKey: PublicKey;
  readonly key: KeyObject;
}

/** Makes a new key, as the texts of its two files. */
export function generateKey(name: string): { readonly secret: string; readonly public: string } {
  checkKeyName(name);
  const { d, x } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const [seed, half] = [Buffer.from(d!, 'base64url'), Buffer.from(x!, 'base64url')];
  const secret = Buffer.concat([seed, half]).toString('base64');
  return { secret: `${name}:${secret}`, public: `${name}:${half.toString('base64')}` };
}

/** @throws GranaryError `usage`, which names `where` and the fault, never the secret */
export function parseSecretKey(text: string, where: string): SecretKey {
  const { name, bytes } = parse(text, where, 'secret', 64);
  const [seed, half] = [bytes.subarray(0, 32), bytes.subarray(32)];
  const jwk = { kty: 'OKP', crv: 'Ed25519', d: base64url(seed), x: base64url(half) };
  try {
    const key = createPrivateKey({ key: jwk, format: 'jwk' });
    const derived = createPublicKey(key).export({ format: 'jwk' }).x;
    if (derived !== jwk.x) throw bad(where, 'secret', 'its two halves do not belong together');
    return { name, key, publicKey: publicKey(name, half) };
  } catch (error) {
    throw error instanceof GranaryError
      ? error
      : bad(where, 'secret', 'its two halves do not belong together');
  }
}

/** @throws GranaryError `usage`, which names `where` and the fault */
export function parsePublicKey(text: string, where: string): PublicKey {
  const { name, bytes } = parse(text, where, 'public', 32);
  return publicKey(name, bytes);
}

export const signWith = ({ name, key }: SecretKey, fingerprint: string): Signature =>
  parseSignature(
    `${name}:${ed25519().sign(Buffer.from(fingerprint, 'latin1'), key).toString('base64')}`,
  );

/** Whether the signature is this key's and right: one of another length is as wrong as another. */
export function holds(
  signature: Signature,
  { name, bytes: key }: PublicKey,
  fingerprint: string,
): boolean {
  if (keyNameOf(signature) !== name) return false;
  const bytes = Buffer.from(signature.slice(name.length + 1), 'base64');
  return bytes.length === 64 && ed25519().verify(bytes, Buffer.from(fingerprint, 'latin1'), key);
}

/** Of each signature, whether one of the keys made it. */
export const heldBy = (
  keys: readonly PublicKey[],
  signatures: readonly Signature[],
  fingerprint: string,
): readonly boolean[] =>
  signatures.map(signature => keys.some(key => holds(signature, key, fingerprint)));

const publicKey = (name: string, bytes: Buffer): PublicKey => ({
  name,
  text: `${name}:${bytes.toString('base64')}`,
  bytes,
});

function parse(
  text: string,
  where: string,
  kind: 'secret' | 'public',
  size: number,
): { name: string; bytes: Buffer } {
  if (/^\s/.test(text)) throw bad(where, kind, 'it begins with a blank; remove that');
  const colon = text.indexOf(':');
  if (colon <= 0) throw bad(where, kind, 'it is no NAME:BASE64');
  const name = text.slice(0, colon);
  if (/[\s\x00-\x1f]/.test(name)) throw bad(where, kind, 'its name has a blank in it');
  const bytes = decodeBase64(text.slice(colon + 1));
  if (bytes?.length === size) return { name, bytes };
  const other = kind === 'secret' ? 32 : 64;
  const why =
    bytes?.length === other
      ? `it is a ${kind === 'secret' ? 'public' : 'secret'} key`
      : `behind the name there are not ${size} bytes of base-64`;
  throw bad(where, kind, why);
}

function checkKeyName(name: string): void {
  if (/^[^\s:\x00-\x1f\x7f]+$/.test(name)) return;
  throw new GranaryError(
    'usage',
    `Cannot name a key "${name}": a name has no blanks and no colon; by custom it is like cache.example.org-1`,
  );
}

const base64url = (bytes: Buffer): string => bytes.toString('base64url');

const bad = (where: string, kind: 'secret' | 'public', why: string): GranaryError =>
  new GranaryError('usage', `Cannot read the ${kind} key ${where}: ${why}`, { file: where });
