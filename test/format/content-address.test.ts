import { deepEqual, equal, throws } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type ContentAddressMethod,
  contentAddressedPath,
  hashModulo,
  makeContentAddress,
  parseContentAddress,
} from '../../src/format/content-address.ts';
import { type HashAlgorithm, hashOf, parseHash, sha256 } from '../../src/format/hash.ts';
import { writeNar } from '../../src/format/nar-write.ts';
import { defaultStoreDir, parseBaseName, parseStoreDir } from '../../src/format/store-path.ts';

const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const nix32 = '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';
const base64 = 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';
const bar = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar', defaultStoreDir);

const spellings: Record<string, string> = {
  [`text:sha256:${hex}`]: `text:sha256:${nix32}`,
  [`fixed:sha256:${hex.toUpperCase()}`]: `fixed:sha256:${nix32}`,
  [`fixed:r:sha256:${nix32}`]: `fixed:r:sha256:${nix32}`,
  [`fixed:r:sha256:${base64}`]: `fixed:r:sha256:${nix32}`,
  'fixed:sha1:a9993e364706816aba3e25717850c26c9cd0d89d':
    'fixed:sha1:kpcd173cq987hw957sx6m0868wv3x6d9',
};
for (const [text, printed] of Object.entries(spellings))
  test(`a content address ${text.slice(0, 24)}… is printed as Nix prints it`, () =>
    equal(parseContentAddress(text), printed));

const refused: Record<string, string> = {
  nothing: '',
  'no method': `sha256:${nix32}`,
  'another method': `flat:sha256:${nix32}`,
  'two methods': `fixed:r:r:sha256:${nix32}`,
  'a NAR of a text': `text:r:sha256:${nix32}`,
  'a text that is fixed': `fixed:text:sha256:${nix32}`,
  'git hashing, an experimental feature': `fixed:git:sha256:${nix32}`,
  'blake3, an experimental feature': `fixed:r:blake3:${hex}`,
  'no algorithm': `fixed:r:${nix32}`,
  'an unknown algorithm': `fixed:sha999:${nix32}`,
  'no digest': 'fixed:sha256',
  'an empty digest': 'fixed:sha256:',
  SRI: `fixed:r:sha256-${base64}`,
  'SRI in place of the digest': `fixed:r:sha256:sha256-${base64}`,
  'a hash in place of the digest': `fixed:r:sha256:sha256:${nix32}`,
  'a blank before it': ` fixed:sha256:${nix32}`,
  'a blank behind it': `fixed:sha256:${nix32} `,
  'a newline behind it': `fixed:sha256:${nix32}\n`,
};
for (const [what, text] of Object.entries(refused))
  test(`a content address with ${what} is malformed`, () =>
    throws(() => parseContentAddress(text), {
      name: 'GranaryError',
      code: 'malformed',
      facts: { field: 'CA' },
    }));

// An executable file, as Nix 2.34.8 adds it under the name "x".
const script = Buffer.from('#!/bin/sh\n');
const scriptNar = Buffer.concat([
  ...writeNar([
    { type: 'file', name: '', size: script.length, executable: true },
    { type: 'data', bytes: script },
  ]),
]);
const added: [ContentAddressMethod, HashAlgorithm, string, string][] = [
  [
    'nar',
    'sha256',
    '0m35wabrvlzjvv71f2xvca3vd91gh9mwvh4mm38h7yb0h9kc30v2',
    'mgak6vjivlzagmcn5vvgd8hzq4i8gg39-x',
  ],
  ['nar', 'sha1', 'b6q60r178czz674gmswb6861vcfhs4zs', 'df2l2c7ahphw7c09w6sjl4imskd94k82-x'],
  ['nar', 'md5', '5fjc1a92bq78hwyxhfb4r1y3yi', 'l37glyig69limgalx2wp20i92a2192br-x'],
  [
    'nar',
    'sha512',
    '0zp1hm3a6w8igl93wniwpsxbqvkdsig2h1k6376pzk5bvxss9xbgba1mivj5g8x89zqpid21ai2hg9yvwlqy33lzh8b6i4rl06vr5qh',
    'r4wp35wy18clcf6xs2m2zqc7yny880s3-x',
  ],
  [
    'flat',
    'sha256',
    '1gss63iniqw2y8jr0hrlf4ksc2alyzdzgsi05c0h47nj50yns1x8',
    '7kip8r69jaycvf2p1ihhsk4p4h3ww9zf-x',
  ],
  ['flat', 'sha1', 'aba9vf9yrdg9rz0hi92md68li3n1p5xx', '0cx2r85a2mqvi0r48anrpb9mlv94jyaf-x'],
  ['flat', 'md5', '73q0174plrzx4p3f41473k2ary', 'z9c7a1xzcnac07i38f48lh26l5zzppn5-x'],
  [
    'flat',
    'sha512',
    '3bfpvl8f1ga4lmvg21hd35wggdcc5a1licl41jkxpiafkyvwrz21ii2fz1vam3w91jcs4z2nj7ai6653bpd3jv9v0p3i8p73apkjgsl',
    'y4a1r4mj1vg6zrqqzvvaraz6anggiqwm-x',
  ],
  [
    'text',
    'sha256',
    '1gss63iniqw2y8jr0hrlf4ksc2alyzdzgsi05c0h47nj50yns1x8',
    'gd2s770935cf68cpn0spahkl4v8idimm-x',
  ],
];
for (const [method, algorithm, digest, name] of added)
  test(`a file added as ${method} by ${algorithm} gets the path that Nix gives it`, () => {
    const bytes = method === 'nar' ? scriptNar : script;
    const hash = hashOf(algorithm, createHash(algorithm).update(bytes).digest());
    const ca = makeContentAddress(method, hash);
    const prefix = { nar: 'fixed:r:', flat: 'fixed:', text: 'text:' }[method];
    equal(ca, `${prefix}${algorithm}:${digest}`);
    equal(parseContentAddress(ca), ca);
    const path = contentAddressedPath(ca, 'x', defaultStoreDir, [], false);
    equal(path, `/nix/store/${name}`);
  });

test("references and a self-reference are in the path: the vector of Nix's own tests", () => {
  const ca = makeContentAddress('nar', sha256('(...)'));
  equal(ca, 'fixed:r:sha256:1lr187v6dck1rjh2j6svpikcfz53wyl3qrlcbb405zlh13x0khhh');
  equal(
    contentAddressedPath(ca, 'foo', defaultStoreDir, [bar], true),
    '/nix/store/n5wkd9frr45pa74if5gpz9j7mifg27fh-foo',
  );
});

test('all that a content address covers changes the path, and the order of references does not', () => {
  const ca = makeContentAddress('nar', sha256('x'));
  const baz = parseBaseName('00000000000000000000000000000000-baz', defaultStoreDir);
  const gnu = parseStoreDir('/gnu/store');
  const path = (...rest: [name?: string, references?: (typeof bar)[], self?: boolean]): string =>
    contentAddressedPath(ca, rest[0] ?? 'n', defaultStoreDir, rest[1] ?? [], rest[2] ?? false);
  const hashes = [
    path(),
    path('m'),
    path('n', [bar]),
    path('n', [bar, baz]),
    path('n', [], true),
    contentAddressedPath(ca, 'n', gnu, [], false),
    contentAddressedPath(makeContentAddress('flat', sha256('x')), 'n', defaultStoreDir, [], false),
    contentAddressedPath(makeContentAddress('text', sha256('x')), 'n', defaultStoreDir, [], false),
  ].map(text => text.slice(text.lastIndexOf('/')));
  equal(new Set(hashes).size, hashes.length);
  equal(path('n', [bar, baz]), path('n', [baz, bar]));
});

const sha1 = parseHash('sha1:a9993e364706816aba3e25717850c26c9cd0d89d');
const impossible: Record<string, () => unknown> = {
  'a text that refers to itself': () =>
    contentAddressedPath(makeContentAddress('text', sha256('')), 'x', defaultStoreDir, [], true),
  'a text by sha1': () =>
    contentAddressedPath(makeContentAddress('text', sha1), 'x', defaultStoreDir, [], false),
  'a flat file with references': () =>
    contentAddressedPath(
      makeContentAddress('flat', sha256('')),
      'x',
      defaultStoreDir,
      [bar],
      false,
    ),
  'a flat file that refers to itself': () =>
    contentAddressedPath(makeContentAddress('flat', sha256('')), 'x', defaultStoreDir, [], true),
  'a NAR by sha1 with references': () =>
    contentAddressedPath(makeContentAddress('nar', sha1), 'x', defaultStoreDir, [bar], false),
  'a name that no store path has': () =>
    contentAddressedPath(makeContentAddress('nar', sha256('')), '.', defaultStoreDir, [], false),
};
for (const [what, make] of Object.entries(impossible))
  test(`there is no store path for ${what}`, () =>
    throws(make, { name: 'GranaryError', code: 'malformed' }));

const self = 'n5wkd9frr45pa74if5gpz9j7mifg27fh';

test('a NAR that refers to itself gets the path that Nix 2.8.0 makes of it', () => {
  const text = Buffer.from(`I am /nix/store/${self}-foo, twice: ${self}\n`);
  const nar = writeNar([
    { type: 'file', name: '', size: text.length, executable: false },
    { type: 'data', bytes: text },
  ]);
  const ca = makeContentAddress('nar', hashModulo(nar, self));
  equal(ca, 'fixed:r:sha256:1xc8xg38d9grqjr0h6vz5l9kanqn1q4lkd3in42dc8gzl85jk578');
  equal(
    contentAddressedPath(ca, 'foo', defaultStoreDir, [], true),
    '/nix/store/p5d4g7nz4al6brc5k4x8sh2kz5f1r6d5-foo',
  );
});

/** The definition, on all bytes at once. */
function moduloByDefinition(text: string, part: string): string {
  const positions = [];
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length))
    positions.push(`|${at}`);
  return sha256(text.replaceAll(part, '\0'.repeat(part.length)) + positions.join(''));
}

test('the hash without self-references does not depend on how the bytes are cut', () => {
  const piece = fc.oneof(
    fc.constant(self),
    fc.constant(self.slice(0, 31)),
    fc.string({ unit: 'binary-ascii' }),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 8 }),
      fc.array(fc.nat({ max: 40 })),
      (pieces, cuts) => {
        const text = pieces.join('');
        const chunks: Buffer[] = [];
        let at = 0;
        for (const cut of [...cuts, text.length]) {
          chunks.push(Buffer.from(text.slice(at, at + cut), 'latin1'));
          at += cut;
        }
        equal(hashModulo(chunks, self), moduloByDefinition(text, self));
      },
    ),
  );
});

test('matches do not overlap, not even across chunks', () => {
  const part = '0'.repeat(32);
  for (const size of [31, 32, 63, 64, 65, 100]) {
    const bytes = Buffer.from('0'.repeat(size));
    const single = Array.from(bytes, byte => Buffer.of(byte));
    equal(hashModulo([bytes], part), moduloByDefinition(bytes.toString(), part));
    equal(hashModulo(single, part), hashModulo([bytes], part));
  }
});

test('where the references were is part of the hash, and the bytes given stay as they are', () => {
  const bytes = Buffer.from(`a ${self}`);
  const copy = Buffer.from(bytes);
  equal(hashModulo([bytes], self) === sha256(`a ${'\0'.repeat(32)}`), false);
  equal(hashModulo([Buffer.from('nothing here')], self), sha256('nothing here'));
  deepEqual(bytes, copy);
});
