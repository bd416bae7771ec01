/**
 * Content addresses, and the store paths that they make.
 *
 *     ca   = "text:" algorithm ":" digest | "fixed:" [ "r:" | "git:" ] algorithm ":" digest
 *     path = fold20(sha256(type ":sha256:" hex(inner) ":" storeDir ":" name)) "-" name
 *
 * fold20 XORs byte i into byte i mod 20. The type is `source` for a NAR's sha256, `text` for a text's,
 * each followed by `:reference` for every reference and `:self` for one to itself; `output:out` else.
 */
import { createHash } from 'node:crypto';
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { encodeBase32 } from './base32.ts';
import { algorithmOf, type Hash, hashOf, hexOf, parseHash } from './hash.ts';
import { parseBaseName, type StoreDir, type StorePath } from './store-path.ts';

declare const contentAddress: unique symbol;
/** As Nix prints it, with the digest in base-32, so equal addresses are equal strings. */
export type ContentAddress = string & { readonly [contentAddress]: true };

const methods = { nar: 'fixed:r:', flat: 'fixed:', text: 'text:' } as const;
export type ContentAddressMethod = keyof typeof methods;

/** The content address of a NAR, a file's bytes, or a text, that has this hash. */
export const makeContentAddress = (method: ContentAddressMethod, hash: Hash): ContentAddress =>
  `${methods[method]}${hash}` as ContentAddress;

/**
 * Reads a content address, its digest in any base but without SRI, as Nix does.
 *
 * @throws GranaryError `malformed`, also for git hashing, which Nix has as an experimental feature
 */
export function parseContentAddress(text: string): ContentAddress {
  return makeContentAddress(...partsOf(text));
}

/**
 * The store path of a content address.
 *
 * @throws GranaryError `malformed` where Nix has none: references to a flat hash or one that is not
 * sha256, a text that refers to itself
 */
export function contentAddressedPath(
  ca: ContentAddress,
  name: string,
  storeDir: StoreDir,
  references: readonly StorePath[],
  self: boolean,
): StorePath {
  const [method, hash] = partsOf(ca);
  const refuse = (why: string): never => {
    throw new GranaryError('malformed', `Cannot make a store path of ${ca}: ${why}`, {
      field: 'CA',
    });
  };
  const suffix = [...references]
    .sort()
    .map(reference => `:${reference}`)
    .join('');
  const make = (type: string, inner: Hash): StorePath => storePathOf(type, inner, name, storeDir);
  if (method === 'text') {
    if (self) refuse('a text cannot refer to itself');
    if (algorithmOf(hash) !== 'sha256') refuse('a text is hashed by sha256');
    return make(`text${suffix}`, hash);
  }
  if (method === 'nar' && algorithmOf(hash) === 'sha256')
    return make(`source${suffix}${self ? ':self' : ''}`, hash);
  if (self || references.length > 0) refuse('only the sha256 of a NAR can have references');
  const kind = method === 'nar' ? 'r:' : '';
  const inner = sum(`fixed:out:${kind}${algorithmOf(hash)}:${hexOf(hash)}:`);
  return make('output:out', hashOf('sha256', inner));
}

/**
 * The SHA-256 of a NAR without its references to itself: each occurrence of the hash part counts as
 * zeros, and their positions follow at the end. (Nix 2.17 to 2.34 forgot the positions.)
 */
export function hashModulo(bytes: Iterable<Uint8Array>, hashPart: string): Hash {
  const sum = new ModuloSum(hashPart);
  for (const chunk of bytes) sum.update(chunk);
  return sum.digest();
}

/** The same for bytes that come one chunk at a time. */
export class ModuloSum {
  readonly #digest = createHash('sha256');
  readonly #pattern: Buffer;
  readonly #zeros: Buffer;
  readonly #positions: number[] = [];
  #held = Buffer.alloc(0); // may hold the beginning of a match
  #offset = 0; // of what is held, in the NAR

  constructor(hashPart: string) {
    this.#pattern = Buffer.from(hashPart, 'latin1');
    this.#zeros = Buffer.alloc(this.#pattern.length);
  }

  update(chunk: Uint8Array): void {
    const text = Buffer.concat([this.#held, chunk]);
    const size = this.#pattern.length;
    let from = 0;
    for (let at = text.indexOf(this.#pattern); at >= 0; at = text.indexOf(this.#pattern, from)) {
      this.#digest.update(text.subarray(from, at)).update(this.#zeros);
      this.#positions.push(this.#offset + at);
      from = at + size;
    }
    const keep = Math.max(from, text.length - size + 1);
    this.#digest.update(text.subarray(from, keep));
    this.#held = Buffer.from(text.subarray(keep));
    this.#offset += keep;
  }

  digest(): Hash {
    this.#digest.update(this.#held);
    for (const position of this.#positions) this.#digest.update(`|${position}`);
    return hashOf('sha256', this.#digest.digest());
  }
}

/** The method and the hash that a content address names. */
export function partsOf(text: string): [ContentAddressMethod, Hash] {
  const found = /^(text|fixed):(?:(r|git):)?([^:]*):([^:-]*)$/s.exec(text);
  const [, kind, method, algorithm, digest] = found ?? [];
  if (!found || (kind === 'text' && method) || method === 'git') {
    const why =
      method === 'git'
        ? 'Nix hashes like git only as an experimental feature'
        : 'it is neither text:ALGORITHM:HASH nor fixed:ALGORITHM:HASH or fixed:r:ALGORITHM:HASH';
    const message = `Cannot read "${readable(text)}" as a content address: ${why}`;
    throw new GranaryError('malformed', message, { field: 'CA' });
  }
  const hash = parseHash(`${algorithm}:${digest}`, 'CA');
  return [kind === 'text' ? 'text' : method === 'r' ? 'nar' : 'flat', hash];
}

function storePathOf(type: string, inner: Hash, name: string, storeDir: StoreDir): StorePath {
  const digest = sum(`${type}:sha256:${hexOf(inner)}:${storeDir}:${name}`);
  const folded = Buffer.alloc(20);
  for (const [at, byte] of digest.entries()) folded[at % 20]! ^= byte;
  return parseBaseName(`${encodeBase32(folded)}-${name}`, storeDir);
}

const sum = (text: string): Buffer => createHash('sha256').update(text, 'latin1').digest();
