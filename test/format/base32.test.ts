import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeBase32, encodeBase32 } from '../../src/format/base32.ts';

const digits = '0123456789abcdfghijklmnpqrsvwxyz';

/** The definition, word by word: one big number, its least byte first, in base 32. */
function byDefinition(bytes: Uint8Array): string {
  const number = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex') || '0'}`);
  let text = '';
  for (let k = 0; k < Math.ceil((bytes.length * 8) / 5); k++)
    text = digits[Number((number >> BigInt(5 * k)) & 31n)] + text;
  return text;
}

test("base32 writes the digests of Nix's own tests as Nix does", () => {
  const sha256OfAbc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
  equal(
    encodeBase32(Buffer.from(sha256OfAbc, 'hex')),
    '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s',
  );
  equal(encodeBase32(Buffer.alloc(0)), '');
  equal(encodeBase32(Buffer.of(0x1f)), '0z');
  equal(encodeBase32(Buffer.of(0xff)), '7z');
});

test('base32 is the number that the bytes are, least byte first', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), bytes => {
      equal(encodeBase32(bytes), byDefinition(bytes));
      deepEqual(decodeBase32(encodeBase32(bytes)), Buffer.from(bytes));
    }),
  );
});

test('base32 reads a text exactly if some bytes are written so', () => {
  const text = fc.string({ unit: fc.constantFrom(...digits), maxLength: 60 });
  fc.assert(
    fc.property(text, text => {
      const size = Math.floor((text.length * 5) / 8);
      const number = [...text].reduce(
        (sum, digit) => sum * 32n + BigInt(digits.indexOf(digit)),
        0n,
      );
      const isOne =
        byDefinition(Buffer.alloc(size)).length === text.length && number < 256n ** BigInt(size);
      const bytes = decodeBase32(text);
      equal(bytes !== undefined, isOne);
      if (bytes) equal(encodeBase32(bytes), text);
    }),
  );
  // every text of two digits, counted: 256 bytes, hence 256 texts
  const pairs = [...digits].flatMap(a => [...digits].map(b => a + b));
  equal(pairs.filter(pair => decodeBase32(pair)).length, 256);
});

const refused: Record<string, string> = {
  'a digit that is none': '0e',
  'another one': '0o',
  'upper case': '0A',
  'a blank': '0 ',
  'a char beyond ASCII': '0\xe9',
  'spare bits that are set': '80',
  'the spare bits of 32 bytes': `2${'0'.repeat(51)}`,
  'a length that no bytes have': '0',
  'another such length': '000',
};
for (const [what, text] of Object.entries(refused))
  test(`base32 refuses ${what}`, () => equal(decodeBase32(text), undefined));
