import { deepEqual, equal, match, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GranaryError } from '../../src/errors.ts';
import { type ContentAddress, parseContentAddress } from '../../src/format/content-address.ts';
import { parseHash, sha256 } from '../../src/format/hash.ts';
import {
  narInfoKey,
  type PackedNar,
  parseCompression,
  parseNarInfo,
  printNarInfo,
} from '../../src/format/narinfo.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseSignature, type Signature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName, parseStoreDir } from '../../src/format/store-path.ts';
import {
  accepted,
  bar,
  ca,
  drv,
  file,
  foo,
  info,
  lines,
  narHash,
  read,
  refsOf,
  refused,
  text,
} from './narinfo-cases.ts';

test('a narinfo says what a path is, which file holds it, and keeps its own text', () => {
  deepEqual(read(text()), { ...info, file, text: text() });
});

test('a narinfo is kept under the hash part of its path', () => {
  equal(narInfoKey(foo), 'n5wkd9frr45pa74if5gpz9j7mifg27fh.narinfo');
});

for (const [what, [given, of, expected]] of Object.entries(accepted))
  test(`a narinfo is read with ${what}`, () => deepEqual(of(read(given)), expected));

for (const [what, [given, field, line, message = /^Cannot read the narinfo/]] of Object.entries(
  refused,
))
  test(`a narinfo with ${what} is malformed`, () =>
    throws(
      () => read(given),
      (error: unknown) => {
        ok(error instanceof GranaryError);
        deepEqual([error.code, error.facts.field, error.facts.line], ['malformed', field, line]);
        match(error.message, message);
        return true;
      },
    ));

test('a cache of another store directory is read by that directory', () => {
  const storeDir = parseStoreDir('/gnu/store');
  const { path, references, deriver } = parseNarInfo(text().replaceAll('/nix/', '/gnu/'), storeDir);
  equal(path, `/gnu/store/${refsOf(foo)}`);
  equal(references[0], `/gnu/store/${refsOf(bar)}`);
  equal(deriver, `/gnu/store/${refsOf(drv)}`);
});

test('every truncation of a narinfo is malformed, or a narinfo that lacks only its last lines', () => {
  const whole = text({ CA: `CA: ${ca}` });
  const enough = whole.indexOf('References');
  for (let size = 0; size < whole.length; size++) {
    const part = whole.slice(0, size);
    if (size >= enough && part.endsWith('\n')) equal(read(part).path, foo);
    else throws(() => read(part), { name: 'GranaryError', code: 'malformed' });
  }
});

test('a narinfo of any bytes is read or malformed, and nothing else happens', () => {
  const words = fc.constantFrom(
    ...Object.values(lines),
    ':',
    '\n',
    ' ',
    '\0',
    'Sig: ',
    'CA: ',
    '\xff',
    '/',
  );
  fc.assert(
    fc.property(
      fc.array(words).map(parts => parts.join('')),
      given => {
        try {
          equal(read(given).text, given);
        } catch (error) {
          equal((error as { code?: string }).code, 'malformed');
        }
      },
    ),
  );
});

test('a narinfo of many megabytes is read at once', () => {
  const start = performance.now();
  const many = Array.from({ length: 20_000 }, (_, n) => `Sig: k${n}:AAAA\nX:\n\n`).join('');
  equal(
    read(text({ Z: `${'\n'.repeat(1e6)}Y: ${' '.repeat(1e6)}\n${many}Y: ` })).signatures.length,
    20_001,
  );
  equal(performance.now() - start < 2000, true);
});

test("a narinfo is written in Nix's order and rendering", () => {
  const full = { ...info, references: [foo, bar, bar], ca: ca as ContentAddress };
  const signatures = ['b:AAAA', 'a-b:AAAA', 'a:////', 'a:AAAA', 'a:AAAA'] as Signature[];
  equal(
    printNarInfo({ ...full, signatures }, file),
    [
      ...Object.values(lines).slice(0, -1),
      'Sig: a:AAAA',
      'Sig: a:////',
      'Sig: a-b:AAAA',
      'Sig: b:AAAA',
      `CA: ${ca}`,
      '',
    ].join('\n'),
  );
});

test('a narinfo without anything that may lack still has its References line, with its blank', () => {
  equal(
    printNarInfo(
      { path: foo, narHash, narSize: 1, references: [], signatures: [] },
      { url: 'u', compression: 'none' },
    ),
    `StorePath: ${foo}\nURL: u\nCompression: none\nNarHash: ${narHash}\nNarSize: 1\nReferences: \n`,
  );
});

const anyPath = fc
  .tuple(
    fc.string({ unit: fc.constantFrom(...'0189abcxyz'), minLength: 32, maxLength: 32 }),
    fc.constantFrom('a', 'b-1.0', 'a.drv', '?=+_'),
  )
  .map(([hash, name]) => parseBaseName(`${hash}-${name}`, defaultStoreDir));
const anyHash = fc.string().map(content => sha256(content));
const anySignature = fc
  .tuple(fc.constantFrom('a', 'a-b', '\xe9'), fc.uint8Array({ minLength: 1, maxLength: 5 }))
  .map(([name, bytes]) => parseSignature(`${name}:${Buffer.from(bytes).toString('base64')}`));
const anyInfo = fc.record(
  {
    path: anyPath,
    narHash: anyHash,
    narSize: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    references: fc.array(anyPath),
    deriver: anyPath,
    ca: fc.constantFrom('', 'r:').map(method => parseContentAddress(`fixed:${method}${narHash}`)),
    signatures: fc.array(anySignature),
  },
  {
    requiredKeys: ['path', 'narHash', 'narSize', 'references', 'signatures'],
    noNullPrototype: true,
  },
);
const anyFile = fc.record(
  {
    url: fc.string({ unit: 'binary-ascii', minLength: 1 }).filter(url => !/[\r\n]/.test(url)),
    compression: fc.constantFrom('none', 'xz', 'zstd', 'bzip2' as const),
    fileHash: anyHash,
    fileSize: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  },
  { requiredKeys: ['url', 'compression'], noNullPrototype: true },
);

test('what was printed is read back, and prints the same again', () => {
  fc.assert(
    fc.property(anyInfo, anyFile, (info, file) => {
      const printed = printNarInfo(info, file);
      const { text, file: readFile, ...readInfo } = read(printed);
      equal(text, printed);
      deepEqual(readFile, file);
      deepEqual(readInfo, {
        ...info,
        references: [...new Set(info.references)].sort(),
        signatures: readInfo.signatures,
      });
      deepEqual(new Set(readInfo.signatures), new Set(info.signatures));
      equal(printNarInfo(readInfo, readFile), printed);
    }),
  );
});

const unwritable: Record<string, [Partial<PathInfo>, Partial<PackedNar>, string]> = {
  'a URL with a newline': [{}, { url: 'x\nSig: y' }, 'URL'],
  'a URL with a carriage return': [{}, { url: 'x\r' }, 'URL'],
  'a URL beyond latin-1': [{}, { url: 'ő' }, 'URL'],
  'no URL': [{}, { url: '' }, 'URL'],
  'a key name with a newline': [{ signatures: [parseSignature('\nk:AAAA')] }, {}, 'Sig'],
  'a size of zero': [{ narSize: 0 }, {}, 'NarSize'],
  'a size that is no number': [{ narSize: Number.NaN }, {}, 'NarSize'],
  'a NAR hash that is no SHA-256': [
    { narHash: parseHash('md5-kAFQmDzST7DWlj99KOF/cg') },
    {},
    'NarHash',
  ],
  'a file hash that is no SHA-256': [
    {},
    { fileHash: parseHash('md5-kAFQmDzST7DWlj99KOF/cg') },
    'FileHash',
  ],
};
for (const [what, [path, packed, field]] of Object.entries(unwritable))
  test(`a narinfo with ${what} is not written`, () =>
    throws(() => printNarInfo({ ...info, ...path }, { ...file, ...packed }), {
      name: 'GranaryError',
      code: 'malformed',
      facts: { field },
    }));

test("Nix's thirteen compressions are known, and no other", () => {
  const names = 'none br bzip2 compress grzip gzip lrzip lz4 lzip lzma lzop xz zstd'.split(' ');
  for (const name of names) equal(parseCompression(name), name);
  equal(parseCompression(), 'bzip2');
  equal(parseCompression(''), 'bzip2');
  for (const name of ['zst', 'XZ', ' xz', 'brotli', 'toString'])
    throws(() => parseCompression(name), { code: 'malformed', facts: { field: 'Compression' } });
});
