import { deepEqual, equal, match, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GranaryError } from '../../src/errors.ts';
import { type ContentAddress, parseContentAddress } from '../../src/format/content-address.ts';
import { parseHash, sha256 } from '../../src/format/hash.ts';
import {
  type NarInfo,
  narInfoKey,
  type PackedNar,
  parseCompression,
  parseNarInfo,
  printNarInfo,
} from '../../src/format/narinfo.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseSignature, type Signature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName, parseStoreDir } from '../../src/format/store-path.ts';

const foo = parseBaseName('n5wkd9frr45pa74if5gpz9j7mifg27fh-foo', defaultStoreDir);
const bar = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar', defaultStoreDir);
const drv = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv', defaultStoreDir);
const narHash = parseHash('sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm');
const sig =
  'k:tFe9c3/8qL4pd64Q9NmtiTlrlxTnGj3B7cWyE3Di1akgWewhJLAB3D+rt4+yvCFY/CD1j3vmlxBTNJyDWVo6DQ==';

const lines = {
  StorePath: `StorePath: ${foo}`,
  URL: 'URL: nar/x.nar.xz',
  Compression: 'Compression: xz',
  FileHash: `FileHash: ${narHash}`,
  FileSize: 'FileSize: 99',
  NarHash: `NarHash: ${narHash}`,
  NarSize: 'NarSize: 120',
  References:
    'References: g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar n5wkd9frr45pa74if5gpz9j7mifg27fh-foo',
  Deriver: 'Deriver: g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv',
  Sig: `Sig: ${sig}`,
};
type Lines = Partial<Record<keyof typeof lines | 'CA' | 'Z', string | undefined>>;

/** A good narinfo but for some lines: others, none, or more. */
const text = (changes: Lines = {}): string =>
  Object.values({ ...lines, ...changes })
    .filter(line => line !== undefined)
    .map(line => `${line}\n`)
    .join('');

const read = (given: string): NarInfo => parseNarInfo(given, defaultStoreDir);

const info: PathInfo = {
  path: foo,
  narHash,
  narSize: 120,
  references: [bar, foo],
  deriver: drv,
  signatures: [parseSignature(sig)],
};
const file: PackedNar = { url: 'nar/x.nar.xz', compression: 'xz', fileHash: narHash, fileSize: 99 };

test('a narinfo says what a path is, which file holds it, and keeps its own text', () => {
  deepEqual(read(text()), { ...info, file, text: text() });
});

test('a narinfo is kept under the hash part of its path', () => {
  equal(narInfoKey(foo), 'n5wkd9frr45pa74if5gpz9j7mifg27fh.narinfo');
});

const other = `sha256:${'0'.repeat(52)}`;
const ca = `fixed:r:${narHash}`;
const refs = 'References: g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar';

// Each was given to Nix 2.34.8 too, which reads the same.
const accepted: Record<string, [string, (info: NarInfo) => unknown, unknown]> = {
  'fields in any order': [
    `${text().split('\n').reverse().join('\n').slice(1)}\n`,
    read => ({ ...read, text: '' }),
    { ...info, file, text: '' },
  ],
  'any one byte behind the colon': [text({ URL: 'URL:!nar/x' }), read => read.file.url, 'nar/x'],
  'two blanks, of which one is the value': [text({ URL: 'URL:  x' }), read => read.file.url, ' x'],
  'colons in a value': [
    text({ URL: 'URL: http://h:1/x?a=b:c' }),
    read => read.file.url,
    'http://h:1/x?a=b:c',
  ],
  'a carriage return in a value': [text({ URL: 'URL: x\r' }), read => read.file.url, 'x\r'],
  'bytes that are not UTF-8': [text({ URL: 'URL: \xff\xfe' }), read => read.file.url, '\xff\xfe'],
  'unknown fields': [
    text({ Z: 'System: x\n: \nconstructor: y\n__proto__: z' }),
    read => read.path,
    foo,
  ],
  'names in other letters, unknown': [
    text({ Z: 'narsize: 7\nNARSIZE: 8\n NarSize: 9' }),
    read => read.narSize,
    120,
  ],
  'a blank line, which hides the next field': [
    text({ FileSize: '\nFileSize: 99' }),
    read => read.file.fileSize,
    undefined,
  ],
  'References without a blank, which take the next line': [
    text({ References: 'References:', Deriver: 'n5wkd9frr45pa74if5gpz9j7mifg27fh-foo' }),
    read => [read.references, read.deriver],
    [[foo], undefined],
  ],
  'the last of two paths': [text({ Z: `StorePath: ${bar}` }), read => read.path, bar],
  'the last of two URLs': [text({ Z: 'URL: y' }), read => read.file.url, 'y'],
  'the last of two sizes': [
    text({ Z: 'NarSize: 7\nFileSize: 8' }),
    read => [read.narSize, read.file.fileSize],
    [7, 8],
  ],
  'the last of two hashes': [text({ Z: `NarHash: ${other}` }), read => read.narHash, other],
  'the last of two derivers': [
    text({ Z: 'Deriver: n5wkd9frr45pa74if5gpz9j7mifg27fh-foo' }),
    read => read.deriver,
    foo,
  ],
  'the last of two compressions': [
    text({ Z: 'Compression: br' }),
    read => read.file.compression,
    'br',
  ],
  'a path by a roundabout way': [
    text({ StorePath: 'StorePath: //nix/./store/x/../n5wkd9frr45pa74if5gpz9j7mifg27fh-foo/' }),
    read => read.path,
    foo,
  ],
  'no compression, which is bzip2': [
    text({ Compression: undefined }),
    read => read.file.compression,
    'bzip2',
  ],
  'an empty compression, which is bzip2': [
    text({ Z: 'Compression: ' }),
    read => read.file.compression,
    'bzip2',
  ],
  'no FileHash and no FileSize': [
    text({ FileHash: undefined, FileSize: undefined }),
    read => read.file,
    { url: 'nar/x.nar.xz', compression: 'xz' },
  ],
  'FileSize zero, which is none': [
    text({ Z: 'FileSize: 0' }),
    read => 'fileSize' in read.file,
    false,
  ],
  'a plus before a size': [text({ NarSize: 'NarSize: +120' }), read => read.narSize, 120],
  'zeros before a size': [text({ NarSize: 'NarSize: 00120' }), read => read.narSize, 120],
  'the largest size': [
    text({ NarSize: 'NarSize: 9007199254740991' }),
    read => read.narSize,
    2 ** 53 - 1,
  ],
  'a hash in SRI': [
    text({ NarHash: 'NarHash: sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0' }),
    read => read.narHash,
    sha256('abc'),
  ],
  'a hash by another algorithm': [
    text({ FileHash: 'FileHash: md5:900150983cd24fb0d6963f7d28e17f72' }),
    read => read.file.fileHash,
    'md5:3jgzhjhz9zjvbb0kyj7jc500ch',
  ],
  'no References': [text({ References: undefined }), read => read.references, []],
  'empty References': [text({ References: 'References: ' }), read => read.references, []],
  'references twice, out of order, with many blanks': [
    text({ References: `References:  ${refsOf(foo, bar, foo)}  ` }),
    read => read.references,
    [bar, foo],
  ],
  'References after empty ones': [
    text({ References: 'References: ', Z: refs }),
    read => read.references,
    [bar],
  ],
  'a deriver that is not known': [
    text({ Deriver: 'Deriver: unknown-deriver' }),
    read => 'deriver' in read,
    false,
  ],
  'a known deriver, then an unknown one': [
    text({ Z: 'Deriver: unknown-deriver' }),
    read => read.deriver,
    drv,
  ],
  'signatures as a set, in the order of Nix': [
    text({ Z: `Sig: a-b:AAAA\nSig: a:AAAA\n${lines.Sig.slice(0, -2)}` }),
    read => read.signatures,
    ['a:AAAA', 'a-b:AAAA', sig],
  ],
  'no signature': [text({ Sig: undefined }), read => read.signatures, []],
  'a content address': [text({ CA: `CA: ${ca}` }), read => read.ca, ca],
  'an empty content address, and another': [
    text({ CA: 'CA: ', Z: `CA: ${ca}` }),
    read => read.ca,
    ca,
  ],
};
for (const [what, [given, of, expected]] of Object.entries(accepted))
  test(`a narinfo is read with ${what}`, () => deepEqual(of(read(given)), expected));

function refsOf(...paths: string[]): string {
  return paths.map(path => path.slice('/nix/store/'.length)).join('   ');
}

const refused: Record<string, [string, string | undefined, number | undefined, RegExp?]> = {
  nothing: ['', 'StorePath', undefined],
  'no newline at its end': [text().slice(0, -1), undefined, 10],
  'a blank line at its end': [`${text()}\n`, undefined, 11],
  'a line without a colon': [text({ Z: 'garbage' }), undefined, 11],
  CRLF: [text().replaceAll('\n', '\r\n'), 'StorePath', 1],
  'a byte order mark': [`\xef\xbb\xbf${text()}`, 'StorePath', undefined],
  'no StorePath': [
    text({ StorePath: undefined, NarHash: undefined, URL: undefined }),
    'StorePath',
    undefined,
  ],
  'no NarHash': [
    text({ NarHash: undefined, URL: undefined, NarSize: undefined }),
    'NarHash',
    undefined,
  ],
  'no URL': [text({ URL: undefined, NarSize: undefined }), 'URL', undefined, /URL is missing/],
  'an empty URL': [text({ Z: 'URL: ' }), 'URL', undefined],
  'no NarSize': [text({ NarSize: undefined }), 'NarSize', undefined],
  'NarSize zero': [text({ NarSize: 'NarSize: 0' }), 'NarSize', undefined, /missing or zero/],
  'a blank line before a field that has to be there': [
    text({ NarSize: '\nNarSize: 120' }),
    'NarSize',
    undefined,
  ],
  'no byte behind the colon of a path': [text({ StorePath: `StorePath:${foo}` }), 'StorePath', 1],
  'a path in another store': [text({ StorePath: `StorePath: /gnu${foo}` }), 'StorePath', 1],
  'a path inside a path': [text({ StorePath: `StorePath: ${foo}/bin` }), 'StorePath', 1],
  'an empty path': [text({ StorePath: 'StorePath: ' }), 'StorePath', 1],
  'an unknown compression': [
    text({ Compression: 'Compression: Xz' }),
    'Compression',
    3,
    /Nix knows .*zstd/,
  ],
  'a hash without an algorithm': [text({ NarHash: `NarHash: ${'0'.repeat(52)}` }), 'NarHash', 6],
  'a bad FileHash, though a good one follows': [
    text({ FileHash: `FileHash: x\n${lines.FileHash}` }),
    'FileHash',
    4,
  ],
  'full paths for references': [text({ References: `References: ${foo}` }), 'References', 8],
  'references apart by a tab': [text({ References: `${refs}\t${refsOf(foo)}` }), 'References', 8],
  'a second References': [text({ Z: refs }), 'References', 11, /second References/],
  'a second References, though empty': [text({ Z: 'References: ' }), 'References', 11],
  'an empty deriver': [text({ Deriver: 'Deriver: ' }), 'Deriver', 9],
  'a full path for a deriver': [text({ Deriver: `Deriver: ${drv}` }), 'Deriver', 9],
  'a bad signature among good ones': [text({ Z: 'Sig: k:' }), 'Sig', 11],
  'a bad content address': [text({ CA: 'CA: fixed:sha256' }), 'CA', 11],
  'a second content address': [text({ CA: `CA: ${ca}`, Z: `CA: ${ca}` }), 'CA', 12, /second CA/],
  'a second content address, though empty': [text({ CA: `CA: ${ca}`, Z: 'CA: ' }), 'CA', 12],
  'a bad line behind a blank one, counted as lines are': [
    text({ FileHash: '\n\nFileHash: \n', NarHash: 'NarHash: x' }),
    'NarHash',
    9,
  ],
};
for (const size of [
  '-1',
  '',
  ' 12',
  '12 ',
  '1e3',
  '0x10',
  '12.0',
  '1_0',
  '+',
  '+-1',
  '２',
  '18446744073709551616',
])
  refused[`the size "${size}"`] = [
    Buffer.from(text({ NarSize: `NarSize: ${size}` })).toString('latin1'),
    'NarSize',
    7,
  ];
refused['a size that a number cannot hold'] = [
  text({ FileSize: 'FileSize: 9007199254740992' }),
  'FileSize',
  5,
];
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
