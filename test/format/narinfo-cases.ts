/**
 * Narinfo texts, good and bad, and what is to become of each: test/format/narinfo.test.ts asks our
 * parser, test/clients/differential.ts asks Nix.
 */
import { parseHash, sha256 } from '../../src/format/hash.ts';
import { type NarInfo, type PackedNar, parseNarInfo } from '../../src/format/narinfo.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName } from '../../src/format/store-path.ts';

export const foo = parseBaseName('n5wkd9frr45pa74if5gpz9j7mifg27fh-foo', defaultStoreDir);
export const bar = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar', defaultStoreDir);
export const drv = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv', defaultStoreDir);
export const narHash = parseHash('sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm');
const sig =
  'k:tFe9c3/8qL4pd64Q9NmtiTlrlxTnGj3B7cWyE3Di1akgWewhJLAB3D+rt4+yvCFY/CD1j3vmlxBTNJyDWVo6DQ==';

export const lines = {
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
export const text = (changes: Lines = {}): string =>
  Object.values({ ...lines, ...changes })
    .filter(line => line !== undefined)
    .map(line => `${line}\n`)
    .join('');

export const read = (given: string): NarInfo => parseNarInfo(given, defaultStoreDir);

export const info: PathInfo = {
  path: foo,
  narHash,
  narSize: 120,
  references: [bar, foo],
  deriver: drv,
  signatures: [parseSignature(sig)],
};
export const file: PackedNar = {
  url: 'nar/x.nar.xz',
  compression: 'xz',
  fileHash: narHash,
  fileSize: 99,
};

const other = `sha256:${'0'.repeat(52)}`;
export const ca = `fixed:r:${narHash}`;
const refs = 'References: g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar';

// Each was given to Nix 2.34.8 too, which reads the same.
export const accepted: Record<string, [string, (info: NarInfo) => unknown, unknown]> = {
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
export function refsOf(...paths: string[]): string {
  return paths.map(path => path.slice('/nix/store/'.length)).join('   ');
}

export const refused: Record<string, [string, string | undefined, number | undefined, RegExp?]> = {
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
