import { deepEqual, equal, throws } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  algorithmOf,
  digestOf,
  type HashAlgorithm,
  hashOf,
  hexOf,
  parseHash,
  sha256,
} from '../../src/format/hash.ts';

const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const nix32 = '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';
const base64 = 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';
const unpadded = base64.slice(0, -1);

const spellings: Record<string, string> = {
  hex: `sha256:${hex}`,
  'hex in upper case': `sha256:${hex.toUpperCase()}`,
  'base-32': `sha256:${nix32}`,
  'base-64': `sha256:${base64}`,
  SRI: `sha256-${base64}`,
  'SRI without padding': `sha256-${unpadded}`,
  'SRI with anything after its padding': `sha256-${base64}junk`,
  'SRI with spare bits that are set': `sha256-${base64.slice(0, -2)}1=`,
  'SRI with a newline in it': `sha256-${base64.slice(0, 9)}\n${base64.slice(9)}`,
};
for (const [what, text] of Object.entries(spellings))
  test(`hash reads ${what}, and has one spelling for it`, () =>
    equal(parseHash(text), `sha256:${nix32}`));

const others: Record<string, string> = {
  'md5:900150983cd24fb0d6963f7d28e17f72': 'md5:3jgzhjhz9zjvbb0kyj7jc500ch',
  'md5-kAFQmDzST7DWlj99KOF/cg': 'md5:3jgzhjhz9zjvbb0kyj7jc500ch',
  'sha1:a9993e364706816aba3e25717850c26c9cd0d89d': 'sha1:kpcd173cq987hw957sx6m0868wv3x6d9',
  'sha1-qZk+NkcGgWq6PiVxeFDCbJzQ2J0=': 'sha1:kpcd173cq987hw957sx6m0868wv3x6d9',
};
for (const [text, hash] of Object.entries(others))
  test(`hash reads ${text}`, () => equal(parseHash(text), hash));

const refused: Record<string, [string, RegExp]> = {
  'no algorithm': [hex, /it names no hash algorithm/],
  'an unknown algorithm': [`sha999:${hex}`, /"sha999" is no hash algorithm/],
  'an algorithm in upper case': [`SHA256:${hex}`, /"SHA256" is no hash algorithm/],
  'an algorithm that is the name of a property': [`constructor:${hex}`, /no hash algorithm/],
  'an empty algorithm': [`:${hex}`, /"" is no hash algorithm/],
  'blake3, an experimental feature': [`blake3:${hex}`, /"blake3" is no .* without experimental/],
  'base-64 without padding': [`sha256:${unpadded}`, /it is no sha256/],
  'base-64 of too many bytes': [`sha256:${unpadded}A`, /it is no sha256/],
  'base-64 that ends at once': [`sha256:=${base64.slice(1)}`, /it is no sha256/],
  'base-64 for URLs': [`sha256:${base64.replace('+', '-')}`, /it is no sha256/],
  'base-32 in upper case': [`sha256:${nix32.toUpperCase()}`, /it is no sha256/],
  'base-32 with spare bits': [`sha256:2${nix32.slice(1)}`, /it is no sha256/],
  'hex with another letter': [`sha256:g${hex.slice(1)}`, /it is no sha256/],
  'hex as SRI': [`sha256-${hex}`, /it is no sha256/],
  'SRI behind a colon': [`sha256:sha256-${base64}`, /it is no sha256/],
  'the digest of another algorithm': [`sha512:${hex}`, /it is no sha512/],
  'a blank behind it': [`sha256:${hex} `, /it is no sha256/],
  'a newline behind it': [`sha256:${hex}\n`, /it is no sha256/],
  'no digest': ['sha256:', /it is no sha256/],
  'an empty SRI': ['sha256-', /it is no sha256/],
  nothing: ['', /it names no hash algorithm/],
};
for (const [what, [text, message]] of Object.entries(refused))
  test(`hash refuses ${what}`, () =>
    throws(() => parseHash(text, 'NarHash'), {
      name: 'GranaryError',
      code: 'malformed',
      message,
      facts: { field: 'NarHash' },
    }));

test('a message about a hash has no control characters of the input in it', () => {
  throws(() => parseHash('sha256:\x1b[2J\x9b'), { message: /"sha256:\\x1b\[2J\\x9b"/ });
});

test('any digest comes back from each of its spellings', () => {
  const sizes: Record<HashAlgorithm, number> = { md5: 16, sha1: 20, sha256: 32, sha512: 64 };
  for (const [name, size] of Object.entries(sizes))
    fc.assert(
      fc.property(fc.uint8Array({ minLength: size, maxLength: size }), bytes => {
        const algorithm = name as HashAlgorithm;
        const digest = Buffer.from(bytes);
        const hash = hashOf(algorithm, digest);
        deepEqual(digestOf(hash), digest);
        equal(hexOf(hash), digest.toString('hex'));
        equal(algorithmOf(hash), algorithm);
        for (const text of [
          hash,
          `${algorithm}:${digest.toString('hex')}`,
          `${algorithm}:${digest.toString('base64')}`,
          `${algorithm}-${digest.toString('base64')}`,
        ])
          equal(parseHash(text), hash);
      }),
      { numRuns: 50 },
    );
});

test('sha256 takes a text for its latin-1 bytes', () => {
  const bytes = Buffer.from([0x61, 0xe9, 0xff]);
  equal(sha256('abc'), `sha256:${nix32}`);
  equal(sha256('a\xe9\xff'), sha256(bytes));
  deepEqual(digestOf(sha256(bytes)), createHash('sha256').update(bytes).digest());
});
