/**
 * Narinfos as the newest Nix reads them: each text alone in a cache, asked about by `nix path-info`.
 * What Nix refuses we refuse, what it accepts we accept, and then every field is the same. Where that
 * cannot be, `lenient` says why.
 */
import { deepEqual, equal, match, notEqual } from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { parseHash } from '../../src/format/hash.ts';
import { type NarInfo, narInfoKey } from '../../src/format/narinfo.ts';
import type { StorePath } from '../../src/format/store-path.ts';
import { accepted, drv, foo, lines, read, refsOf, refused, text } from '../format/narinfo-cases.ts';
import { scratch } from './kept.ts';
import { freshStore, nix, whyNoClients } from './nix.ts';
import type { Result } from './process.ts';

const skip = await whyNoClients();
const newest = skip === false ? await nix('newest') : undefined;
const store = skip === false ? freshStore() : undefined;

const hex = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const nix32 = '1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';
const base64 = 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';
const unpadded = base64.slice(0, -1);
const sha1 = 'a9993e364706816aba3e25717850c26c9cd0d89d';
const hashPart = 'n5wkd9frr45pa74if5gpz9j7mifg27fh';

/** Values of a field, one narinfo each. */
const values: Readonly<Record<string, readonly string[]>> = {
  StorePath: [
    `/../../nix/store/${hashPart}-foo/.`,
    `/nix//store/../store/${hashPart}-foo//`,
    `/nix/store/${hashPart}-${'x'.repeat(211)}`,
    `/nix/store/${hashPart}-${'x'.repeat(212)}`,
    `/nix/store/${hashPart}-A+b-c.d_e?f=g`,
    ...['', '.', '..', '.-a', '..-a', 'a b', 'a~', 'a\r', 'a\0', '\xe9', 'a:b'].map(
      name => `/nix/store/${hashPart}-${name}`,
    ),
    ...['.a', '...', '..a', '...-', '-'].map(name => `/nix/store/${hashPart}-${name}`),
    `/nix/store/${hashPart}foo`,
    `/nix/store/${hashPart}`,
    `/nix/store/e${hashPart.slice(1)}-foo`,
    `/nix/store/${hashPart.toUpperCase()}-foo`,
    `nix/store/${hashPart}-foo`,
    `${hashPart}-foo`,
    '/nix/store',
    '/',
  ],
  URL: ['nar/%20 x?y#z', '/etc/passwd', '../x', '\t', '\0', '\xc5\x91'],
  Compression: ['bzip2', 'zstd', 'lzop', 'zst', ' xz', 'xz\r'],
  FileHash: ['', 'x', `sha256:${nix32}`, `sha1:${sha1}`],
  FileSize: ['', '1', '-1', 'x'],
  NarHash: [
    `sha256:${hex}`,
    `sha256:${hex.toUpperCase()}`,
    `sha256:${nix32.toUpperCase()}`,
    `sha256:2${nix32.slice(1)}`,
    `sha256:${base64}`,
    `sha256:${unpadded}`,
    `sha256:${unpadded}A`,
    `sha256:=${unpadded}`,
    `sha256-${base64}`,
    `sha256-${base64}junk`,
    `sha256-${base64}\r`,
    `sha256-${base64.slice(0, -2)}1`,
    `sha256-${unpadded}\r`,
    `sha256-${unpadded}A`,
    `sha256-${base64.replace('+', '-')}`,
    `sha256-${hex}`,
    `sha256-sha256:${nix32}`,
    `sha256:sha256-${base64}`,
    `sha1:${sha1}`,
    `sha512:${hex}`,
    `SHA256:${hex}`,
    `blake3:${hex}`,
    `constructor:${hex}`,
    `sha256:${hex} `,
    ...[hex, nix32, base64, '', ':', '-', 'sha256:', 'sha256-', `:${hex}`, `-${base64}`],
  ],
  NarSize: ['+0', '00', '-0', '++1', '1\0', '1\r', '1,000', '1e3', 'inf', '1u', "1'000"],
  References: [
    hashPart,
    `${hashPart}-`,
    `${hashPart}-.`,
    `${hashPart}-foo\r`,
    `${hashPart}-foo ${hashPart}-bar`,
    ' ',
    '\t',
    '/',
  ],
  Deriver: ['unknown-deriver\r', 'unknown-deriver ', 'Unknown-deriver', `${hashPart}-x`, 'x', drv],
  Sig: [
    ...['', 'k', 'k:', ':AAAA', ':', 'k:=', 'k:==', 'k:=AAAA', 'k:A', 'k:AA', 'k:AB', 'k:AAA'],
    ...['k: AAAA', 'k:AAAA ', 'k:AAAA\r', 'k:AAAA=\r', 'k:AAAA=junk', 'k:x:AAAA', 'k:A-_A'],
    ...[' k:AAAA', 'a b:AAAA', '\xc5\x91:AAAA', 'k:AA\xe9A', `k:${'A'.repeat(6172)}`],
  ],
  CA: [
    `text:sha256:${nix32}`,
    `text:sha256:${hex.toUpperCase()}`,
    `text:sha1:${sha1}`,
    `text:r:sha256:${nix32}`,
    `fixed:sha256:${base64}`,
    `fixed:sha1:${sha1}`,
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
    ` fixed:r:sha256:${nix32}`,
    `sha256:${nix32}`,
    `flat:sha256:${nix32}`,
    ...['fixed', 'fixed:', 'fixed:r:', 'fixed:sha256', 'fixed:sha256:', 'text:', 'r:', ':', ' '],
  ],
};

/** Whole texts whose lines are cut in ways that the cases do not have. */
const cuts: Readonly<Record<string, string>> = {
  'a colon and no more at its end': `${text()}:`,
  'a colon, one byte, and no newline': `${text()}X: `,
  'a field without a name': `${text()}: x\n`,
  'a field that is a colon alone and takes an empty line': `${text()}:\n\n`,
  'a colon alone in the last line': `${text()}:\n`,
  'a blank line at its start, which hides the path': `\n${text()}`,
  'a URL that takes the next line': text({ URL: 'URL:' }),
  'two blanks before a hash': text({ NarHash: `NarHash:  sha256:${nix32}` }),
  'a NUL in a name': text({ FileSize: 'FileSize\0: x' }),
  'a blank behind a name': text({ FileSize: 'FileSize : x' }),
  'carriage returns before the newlines of unknown fields': text({ Z: 'A: b\r\nC: d\r' }),
  'a signature in two lines': text({ Sig: `${lines.Sig.slice(0, 40)}\n${lines.Sig.slice(40)}` }),
  'references over two fields, the first empty': text({
    References: `References: \nReferences: ${refsOf(foo)}`,
  }),
};

const texts: readonly (readonly [what: string, text: string])[] = [
  ...Object.entries(accepted).map(([what, [given]]) => [what, given] as const),
  ...Object.entries(refused).map(([what, [given]]) => [what, given] as const),
  ...Object.entries(cuts),
  ...Object.entries(values).flatMap(([field, list]) =>
    list.map(value => {
      const line = `${field}: ${value}`;
      return [`the line ${JSON.stringify(line).slice(0, 120)}`, text({ [field]: line })] as const;
    }),
  ),
];

/** What this Nix reads and we refuse: the line, from which version on it does not, and why. */
const lenient: readonly { readonly line: RegExp; readonly until?: string; readonly why: string }[] =
  [
    {
      line: /[^\r]\nCompression: (Xz|zst| xz|xz\r)\n/,
      until: '2.35',
      why: 'Nix looked at the compression when it decompressed, and not before',
    },
    {
      line: /Size: 9007199254740992$/m,
      why: 'a number of ours ends at 2^53-1, and no file is as large',
    },
    {
      line: /^StorePath: \/nix\/store\/.{32}foo$/m,
      why: 'Nix does not look at the byte between hash and name: no path that it makes lacks the dash',
    },
  ];

const byNumbers = new Intl.Collator('en', { numeric: true });
const whyLenient = (given: string): string | undefined =>
  lenient.find(
    ({ line, until }) =>
      line.test(given) &&
      (until === undefined || byNumbers.compare(newest?.version ?? '', until) < 0),
  )?.why;

function ours(given: string): NarInfo | undefined {
  try {
    return read(given);
  } catch (error) {
    if (error instanceof GranaryError && error.code === 'malformed') return undefined;
    throw error;
  }
}

/** Nix's answer about the path, the narinfo being all that the cache has. */
function ask(given: string, path: StorePath, ...options: string[]): Promise<Result> {
  const cache = scratch();
  writeFileSync(join(cache, 'nix-cache-info'), 'StoreDir: /nix/store\n');
  writeFileSync(join(cache, narInfoKey(path)), given, 'latin1');
  const args = ['path-info', ...options, '--store', `file://${cache}`, path];
  return newest!.run('nix', args, { store: store! });
}

/** What Nix says of the path, in our words. */
function inOurWords(json: string, path: StorePath, given: string): NarInfo {
  const info = JSON.parse(json)[path];
  const { narHash, narSize, references, deriver, ca, signatures } = info;
  const { url, compression, downloadHash, downloadSize } = info;
  return {
    path,
    narHash: parseHash(narHash),
    narSize,
    references: references.sort(),
    ...(deriver && { deriver }),
    ...(ca && { ca }),
    signatures,
    file: {
      url,
      compression,
      ...(downloadHash && { fileHash: parseHash(downloadHash) }),
      ...(downloadSize && { fileSize: downloadSize }),
    },
    text: given,
  };
}

describe('a narinfo that the newest Nix', { skip, concurrency: 2 }, () => {
  for (const [what, given] of texts) {
    const our = ours(given);
    const why = our ? undefined : whyLenient(given);
    if (why)
      test(`reads and we do not: ${what}, since ${why}`, async () =>
        equal((await ask(given, foo, '--json')).code, 0));
    else if (our === undefined)
      test(`refuses we refuse: ${what}`, async () => {
        const { code, stderr } = await ask(given, foo);
        notEqual(code, 0);
        match(stderr, /^error: |Assertion .* failed/m); // 2.34.8 aborts at an empty StorePath
      });
    else if (isUtf8(Buffer.from(given, 'latin1')))
      test(`reads we read alike: ${what}`, async () => {
        const { stdout, stderr } = await ask(given, our.path, '--json', '--json-format', '1');
        equal(stderr, '');
        deepEqual(our, inOurWords(stdout, our.path, given));
      });
    else
      test(`reads, and cannot print as JSON, we read: ${what}`, async () =>
        equal((await ask(given, our.path)).stdout, `${our.path}\n`));
  }
});
