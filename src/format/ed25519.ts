/**
 * Ed25519. A cache has a signature in every narinfo, and to make or check it costs more than all else about
 * it: 45 and 130 µs by Node's OpenSSL, 26 and 65 by libsodium, which is also what Nix asks. So that does
 * it where its optional package has a build for this machine.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { createRequire } from 'node:module';

export interface Ed25519 {
  readonly sign: (message: Buffer, secretKey: KeyObject) => Buffer;
  /** Takes a signature of 64 bytes, and a key of 32. */
  readonly verify: (signature: Buffer, message: Buffer, publicKey: Buffer) => boolean;
}

export const nodeEd25519: Ed25519 = {
  sign: (message, secretKey) => sign(null, message, secretKey),
  verify: (signature, message, publicKey) =>
    verify(null, message, remembered(publicKeys, publicKey, importPublic), signature),
};

/** Undefined where it has no build for this machine. */
export function findLibsodium(): Ed25519 | undefined {
  let sodium: Libsodium;
  try {
    sodium = createRequire(import.meta.url)('sodium-native');
  } catch {
    return undefined; // an optional package may be missing
  }
  return {
    sign(message, secretKey) {
      const signature = Buffer.alloc(64);
      const bytes = remembered(secretBytes, secretKey, exportSecret);
      sodium.crypto_sign_detached(signature, message, bytes);
      return signature;
    },
    verify: (signature, message, publicKey) =>
      sodium.crypto_sign_verify_detached(signature, message, publicKey),
  };
}

let found: Ed25519 | undefined;

/** The faster of those that are there. */
export const ed25519 = (): Ed25519 => {
  found ??= findLibsodium() ?? nodeEd25519;
  return found;
};

interface Libsodium {
  crypto_sign_detached(signature: Buffer, message: Buffer, secretKey: Buffer): void;
  crypto_sign_verify_detached(signature: Buffer, message: Buffer, publicKey: Buffer): boolean;
}

/** What one side makes of the keys of the other; a secret's bytes are nowhere else. */
const publicKeys = new WeakMap<Buffer, KeyObject>();
const secretBytes = new WeakMap<KeyObject, Buffer>();

function remembered<From extends object, To>(
  known: WeakMap<From, To>,
  from: From,
  make: (from: From) => To,
): To {
  const made = known.get(from) ?? make(from);
  known.set(from, made);
  return made;
}

const importPublic = (bytes: Buffer): KeyObject =>
  createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') },
    format: 'jwk',
  });

function exportSecret(key: KeyObject): Buffer {
  const { d, x } = key.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from(d!, 'base64url'), Buffer.from(x!, 'base64url')]);
}
