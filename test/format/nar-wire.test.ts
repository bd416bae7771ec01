import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import {
  isNarName,
  isNarTarget,
  padding,
  stringSize,
  tokens,
  wordAt,
  writeNumber,
  writeString,
} from '../../src/format/nar-wire.ts';

/** `str(word)` by the definition, and not by the code that is tested. */
const str = (word: string): Buffer => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(word.length));
  return Buffer.concat([length, Buffer.from(word, 'latin1'), Buffer.alloc(-word.length & 7)]);
};

const words: Record<keyof typeof tokens, string[]> = {
  magic: ['nix-archive-1'],
  regular: ['(', 'type', 'regular', 'contents'],
  executable: ['(', 'type', 'regular', 'executable', '', 'contents'],
  symlink: ['(', 'type', 'symlink', 'target'],
  directory: ['(', 'type', 'directory'],
  entry: ['entry', '(', 'name'],
  node: ['node'],
  close: [')'],
};

for (const [name, spelled] of Object.entries(words))
  test(`the token ${name} is its words, one after the other`, () => {
    deepEqual(tokens[name as keyof typeof tokens], Buffer.concat(spelled.map(str)));
  });

test('there is no token but those', () => {
  deepEqual(Object.keys(tokens).sort(), Object.keys(words).sort());
});

test('no token begins another, so that the first byte that differs tells them apart', () => {
  const all = Object.entries(tokens);
  for (const [name, token] of all)
    for (const [other, longer] of all)
      if (name !== other) equal(longer.subarray(0, token.length).equals(token), false);
});

test('wordAt finds the word that a byte of a token belongs to', () => {
  const found = [0, 15, 16, 48, 72, 95].map(at => wordAt(tokens.executable, at));
  deepEqual(found, [
    { start: 0, word: '(' },
    { start: 0, word: '(' },
    { start: 16, word: 'type' },
    { start: 48, word: 'executable' },
    { start: 72, word: '' },
    { start: 80, word: 'contents' },
  ]);
});

test('padding fills up to a multiple of eight', () => {
  const sizes = [0, 1, 7, 8, 9, 2 ** 40 + 3, Number.MAX_SAFE_INTEGER];
  deepEqual(sizes.map(padding), [0, 7, 1, 0, 7, 5, 1]);
  deepEqual([0, 1, 8, 9].map(stringSize), [8, 16, 16, 24]);
});

test('writeNumber writes eight bytes, little end first, up to 2^53 - 1', () => {
  for (const value of [0, 1, 255, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER]) {
    const buffer = Buffer.alloc(10, 0xee);
    equal(writeNumber(buffer, 1, value), 9);
    equal(buffer.readBigUInt64LE(1), BigInt(value));
    deepEqual([buffer[0], buffer[9]], [0xee, 0xee]);
  }
});

test('writeString writes one byte a char, and zeros over what stood in the buffer', () => {
  for (const text of ['', 'a', '\xff\x80', '12345678', '123456789']) {
    const buffer = Buffer.alloc(40, 0xee);
    const end = writeString(buffer, 3, text);
    deepEqual(buffer.subarray(3, end), str(text));
    equal(buffer[end], 0xee);
  }
});

const names: Record<string, [string, boolean]> = {
  nothing: ['', false],
  'a dot': ['.', false],
  'dot-dot': ['..', false],
  'three dots': ['...', true],
  'a slash': ['a/b', false],
  'a NUL': ['a\0', false],
  'a closing word': [')', true],
  'bytes that are not UTF-8': ['\xff\xfe', true],
  'a line end': ['a\n', true],
  '255 bytes': ['n'.repeat(255), true],
  '256 bytes': ['n'.repeat(256), false],
};
for (const [what, [name, valid]] of Object.entries(names))
  test(`isNarName ${valid ? 'accepts' : 'rejects'} ${what}`, () => equal(isNarName(name), valid));

test('isNarTarget accepts 1 to 4095 bytes without NUL', () => {
  const targets = ['', '\0', 'a\0b', '/', '../..', 't'.repeat(4095), 't'.repeat(4096)];
  deepEqual(targets.map(isNarTarget), [false, false, false, true, true, true, false]);
});
