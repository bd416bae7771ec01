/** Mutants of narinfo: each field × each change, alone and in twos, of narinfos of all shapes. */
import { ca, drv, foo, lines as good } from '../format/narinfo-cases.ts';
import { type Lines, line, lineChanges, printLines, repeated, valued } from './lines.ts';
import { type Change, changed, type Mutant, pick, type Random, some } from './mutant.ts';

const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const nix32 = '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';
const base64 = 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';
const unpadded = base64.slice(0, -1);
const sha1 = 'a9993e364706816aba3e25717850c26c9cd0d89d';
const md5 = '900150983cd24fb0d6963f7d28e17f72';
const sha512 = hex + hex;
const hashPart = 'n5wkd9frr45pa74if5gpz9j7mifg27fh';
const other = 'g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q';

const hashes = [
  `sha256:${hex}`,
  `sha256:${hex.toUpperCase()}`,
  `sha256:${hex.slice(0, 32)}${hex.slice(32).toUpperCase()}`,
  `sha256:${hex.slice(1)}`,
  `sha256:${hex}0`,
  `sha256:g${hex.slice(1)}`,
  `sha256:${nix32}`,
  `sha256:${nix32.toUpperCase()}`,
  `sha256:2${nix32.slice(1)}`,
  `sha256:e${nix32.slice(1)}`,
  `sha256:${base64}`,
  `sha256:${unpadded}`,
  `sha256:${unpadded}A`,
  `sha256:=${unpadded}`,
  `sha256-${base64}`,
  `sha256-${base64}junk`,
  `sha256-${base64}\r`,
  `sha256-${base64.slice(0, -2)}1`,
  `sha256-${unpadded}`,
  `sha256-${unpadded}\r`,
  `sha256-${unpadded}A`,
  `sha256-${base64.replace('+', '-')}`,
  `sha256-${hex}`,
  `sha256-${nix32}`,
  `sha256-sha256:${nix32}`,
  `sha256:sha256-${base64}`,
  `sha1:${sha1}`,
  `md5:${md5}`,
  `sha512:${sha512}`,
  `sha512:${hex}`,
  `SHA256:${hex}`,
  `sha-256:${hex}`,
  `blake3:${hex}`,
  `blake3-${base64}`,
  `constructor:${hex}`,
  `sha256:${hex} `,
  ...[hex, nix32, base64, '', ':', '-', 'sha256:', 'sha256-', `:${hex}`, `-${base64}`],
];

const sizes = [
  ...['0', '1', '120', '+120', '+0', '00', '00120', '-0', '-1', '++1', '+-1', '+', '', ' 1', '1 '],
  ...['1\0', '1\r', '1,000', '1e3', '1.0', '0x10', 'inf', '1u', "1'000", '1_0', 'x'],
  ...['4294967296', '9007199254740991', '9007199254740992', '9223372036854775807'],
  ...['9223372036854775808', '18446744073709551615', '18446744073709551616', '9'.repeat(40)],
  ...[`${'0'.repeat(40)}7`, '+9007199254740992'],
];

const names = [
  ...['x', 'A+b-c.d_e?f=g', '-', '=', '.a', '...', '..a', '...-', 'foo.drv', 'x'.repeat(211)],
  ...['', '.', '..', '.-a', '..-a', 'a b', 'a~', 'a\r', 'a\0', '\xe9', 'a:b', 'x'.repeat(212)],
];
const baseNames = [
  ...names.map(name => `${hashPart}-${name}`),
  `${hashPart}foo`,
  hashPart,
  `e${hashPart.slice(1)}-foo`,
  `${hashPart.toUpperCase()}-foo`,
  `${hashPart}_foo`,
];

/** Values of each field, good and bad ones. */
export const fieldValues: Readonly<Record<string, readonly string[]>> = {
  StorePath: [
    `/../../nix/store/${hashPart}-foo/.`,
    `/nix//store/../store/${hashPart}-foo//`,
    `//nix/./store/x/../${hashPart}-foo/`,
    ...baseNames.map(name => `/nix/store/${name}`),
    `/nix/store/${hashPart}-foo/bin`,
    `/gnu/store/${hashPart}-foo`,
    `/nix/${hashPart}-foo`,
    `nix/store/${hashPart}-foo`,
    `${hashPart}-foo`,
    ...['/nix/store', '/nix/store/', '/', ''],
  ],
  URL: [
    ...['nar/x', 'nar/%20 x?y#z', '/etc/passwd', '../x', '\t', '\0', '\xc5\x91', '\xff', ' ', ''],
    ...['https://h:1/x?a=b:c', '//h/x', 'x\r', '?', `nar/${'x'.repeat(5000)}`],
  ],
  Compression: [
    ...['none', 'br', 'bzip2', 'compress', 'grzip', 'gzip', 'lrzip', 'lz4', 'lzip', 'lzma', 'lzop'],
    ...['xz', 'zstd', '', 'zst', 'Xz', 'XZ', ' xz', 'xz ', 'xz\r', 'xz\0', 'x', 'none,xz'],
  ],
  FileHash: hashes,
  FileSize: sizes,
  NarHash: hashes,
  NarSize: sizes,
  References: [
    ...baseNames,
    ...['', ' ', '  ', '\t', '/', `/nix/store/${hashPart}-foo`],
    `${other}-bar ${hashPart}-foo`,
    `${hashPart}-foo ${other}-bar`,
    `${hashPart}-foo  ${hashPart}-foo `,
    ` ${other}-bar`,
    `${other}-bar\t${hashPart}-foo`,
    `${other}-bar,${hashPart}-foo`,
    `${other}-bar ${other}-Bar ${other}-bar- ${other}-ba`,
    Array.from({ length: 300 }, (_, at) => `${other}-${at}`).join(' '),
  ],
  Deriver: [
    ...baseNames,
    ...[
      'unknown-deriver',
      'unknown-deriver\r',
      'unknown-deriver ',
      'Unknown-deriver',
      '',
      'x',
      drv,
    ],
  ],
  Sig: [
    ...['', 'k', 'k:', ':AAAA', ':', 'k:=', 'k:==', 'k:=AAAA', 'k:A', 'k:AA', 'k:AB', 'k:AAA'],
    ...['k: AAAA', 'k:AAAA ', 'k:AAAA\r', 'k:AAAA=\r', 'k:AAAA=junk', 'k:x:AAAA', 'k:A-_A'],
    ...[' k:AAAA', 'a b:AAAA', '\xc5\x91:AAAA', 'k:AA\xe9A', `k:${'A'.repeat(6172)}`],
    ...['k:AAAA', 'k-b:AAAA', 'k:AAAAAAA', 'k:AAAAA', 'K:AAAA', 'k:\0', 'k\0:AAAA', 'k:AAAA\0'],
    good.Sig.slice('Sig: '.length).replace(/==$/, ''),
    good.Sig.slice('Sig: '.length).replace(/==$/, '=='.repeat(40)),
  ],
  CA: [
    ca,
    '',
    `text:sha256:${nix32}`,
    `text:sha256:${hex.toUpperCase()}`,
    `text:sha1:${sha1}`,
    `text:r:sha256:${nix32}`,
    `fixed:sha256:${base64}`,
    `fixed:sha1:${sha1}`,
    `fixed:md5:${md5}`,
    `fixed:sha512:${sha512}`,
    `fixed:r:sha1:${sha1}`,
    `fixed:r:r:sha256:${nix32}`,
    `fixed:git:sha1:${sha1}`,
    `fixed:git:sha256:${nix32}`,
    `fixed:text:sha256:${nix32}`,
    `fixed:r:blake3:${hex}`,
    `fixed:r:sha256-${base64}`,
    `fixed:r:sha256:sha256-${base64}`,
    `fixed:r:sha256:sha256:${nix32}`,
    `fixed:r:sha256:${unpadded}`,
    `fixed:r:${nix32}`,
    `fixed:r:sha256:${nix32} `,
    `fixed:r:sha256:${nix32}\r`,
    ` fixed:r:sha256:${nix32}`,
    `Fixed:r:sha256:${nix32}`,
    `sha256:${nix32}`,
    `flat:sha256:${nix32}`,
    ...['fixed', 'fixed:', 'fixed:r:', 'fixed:sha256', 'fixed:sha256:', 'text:', 'r:', ':', ' '],
  ],
};

const full: Lines = [
  ...Object.values(good).map(text => {
    const colon = text.indexOf(':');
    return line(text.slice(0, colon), text.slice(colon + 2));
  }),
  line('Sig', 'z-1:AAAA'),
  line('CA', ca),
];
const least: Lines = [
  line('StorePath', foo),
  line('URL', 'nar/x'),
  line('NarHash', `sha256:${hex}`),
  line('NarSize', '120'),
];
const usual = full.slice(0, -2);

const fields = Object.keys(fieldValues);
const changes: readonly Change<Lines>[] = [
  ...Object.entries(fieldValues).flatMap(([field, list]) =>
    list.map(value => valued(field, value)),
  ),
  ...fields.flatMap(field => fieldValues[field]!.slice(0, 3).map(value => repeated(field, value))),
  ...lineChanges(fields),
];

/** Each change once. */
export const narInfoSingles: readonly Mutant[] = changes.map(change =>
  changed(full, [change], printLines),
);

/** One or two changes of a narinfo with many fields or few. */
export const narInfoMutant = (random: Random): Mutant =>
  changed(pick(random, [full, usual, least]), some(random, changes, 2), printLines);
