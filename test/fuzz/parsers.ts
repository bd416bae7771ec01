/** Every parser of src/format and src/cache, with the laws of what it accepts. */
import assert from 'node:assert/strict';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { codecFor, type WritableCompression } from '../../src/cache/codec.ts';
import { GranaryError } from '../../src/errors.ts';
import { decodeBase32, encodeBase32 } from '../../src/format/base32.ts';
import { parseCacheInfo, soundCacheInfo, withCacheInfo } from '../../src/format/cache-info.ts';
import { parseContentAddress } from '../../src/format/content-address.ts';
import {
  encode,
  infoParts,
  type Reading,
  readMessage,
  readPathInfo,
} from '../../src/format/daemon-wire.ts';
import { hexOf, parseHash } from '../../src/format/hash.ts';
import { parsePublicKey, parseSecretKey } from '../../src/format/key.ts';
import { parseListing, printListing } from '../../src/format/nar-listing.ts';
import { ListingBuilder } from '../../src/format/nar-listing-builder.ts';
import { NarReader } from '../../src/format/nar-read.ts';
import type { NarEvent } from '../../src/format/nar-wire.ts';
import { writeNar } from '../../src/format/nar-write.ts';
import { hiddenFields, parseNarInfo, printNarInfo } from '../../src/format/narinfo.ts';
import { withSignatures } from '../../src/format/narinfo-edit.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseReferencesGraph } from '../../src/format/references-graph.ts';
import { parseSignature } from '../../src/format/signature.ts';
import {
  defaultStoreDir,
  normalizeStorePath,
  parseStorePath,
} from '../../src/format/store-path.ts';
import { readFrom } from '../format/read-from.ts';
import { bent } from '../mutants/bytes.ts';
import { cacheInfoMutant } from '../mutants/cache-info.ts';
import { jsonMutant } from '../mutants/json.ts';
import { below, pick, type Random, some } from '../mutants/mutant.ts';
import { narMutant, narSingles } from '../mutants/nar.ts';
import { fieldValues, narInfoMutant } from '../mutants/narinfo.ts';
import { lawfully, type Target } from './target.ts';

const limitMs = 5000; // of wall time, on a machine that may have other things to do
const signature = parseSignature('fuzz-1:AAAA');

const narInfo: Target = {
  name: 'narinfo',
  perRound: 200,
  limitMs,
  grammar: random => narInfoMutant(random).bytes,
  accepts: input => {
    const { text, ...info } = parseNarInfo(input, defaultStoreDir);
    lawfully(() => {
      hiddenFields(text);
      assert.equal(withSignatures(text, { add: [], drop: [] }), text);
      const signed = withSignatures(text, { add: [signature], drop: [] });
      assert.ok(parseNarInfo(signed, defaultStoreDir).signatures.includes(signature));
    });
    const printed = unlessMalformed(() => printNarInfo(info, info.file));
    if (printed === undefined) return true; // as Nix, we do not write all that we read
    const { text: _, ...again } = lawfully(() => parseNarInfo(printed, defaultStoreDir));
    assert.deepEqual(again, info);
    return true;
  },
};

const cacheInfo: Target = {
  name: 'nix-cache-info',
  perRound: 200,
  limitMs,
  grammar: random => cacheInfoMutant(random).bytes,
  accepts: input => {
    const values = { storeDir: defaultStoreDir, priority: 5, wantMassQuery: true };
    const sound = soundCacheInfo(input, defaultStoreDir);
    lawfully(() => assert.deepEqual(parseCacheInfo(withCacheInfo(sound, values)), values));
    parseCacheInfo(input);
    return true;
  },
};

const nar: Target = {
  name: 'NAR',
  perRound: 100,
  limitMs,
  grammar: narText,
  accepts: input => {
    const { bytes, events, listing } = readNarOf(input, input.length);
    const written = lawfully(() => Buffer.concat([...writeNar(events)]));
    assert.ok(written.equals(bytes));
    const pieces = lawfully(() => readNarOf(input, 1 + (input.length % 13)));
    assert.ok(pieces.bytes.equals(bytes));
    assert.equal(pieces.listing, listing);
    return true;
  },
};

const emptyListing = '{"root":{"entries":{},"type":"directory"},"version":1}';

const listing: Target = {
  name: 'listing',
  perRound: 100,
  limitMs,
  grammar: random => {
    const { bytes } = narMutant(random);
    const good = unlessMalformed(() => readNarOf(bytes, bytes.length).listing) ?? emptyListing;
    return JSON.stringify(jsonMutant(random, JSON.parse(good)));
  },
  accepts: input => {
    const root = parseListing(input);
    assert.deepEqual(
      lawfully(() => parseListing(printListing(root))),
      root,
    );
    return true;
  },
};

const graphPaths = ['1', '2', '3'].map(digit => `/nix/store/${digit.repeat(32)}-n`);
const graph = graphPaths.map((path, at) => ({
  path,
  narHash: fieldValues.NarHash![at]!,
  narSize: 120 + at,
  references: graphPaths.slice(0, at + 1),
  ca: fieldValues.CA![at]!,
}));
const attributes = {
  exportReferencesGraph: { one: graphPaths[2]!, two: [graphPaths[1]!, [graphPaths[0]!]] },
  one: graph,
  two: graph.slice(0, 2),
};

const referencesGraph: Target = {
  name: 'references graph',
  perRound: 200,
  limitMs,
  grammar: random => JSON.stringify(jsonMutant(random, pick(random, [graph, attributes]))),
  accepts: input => {
    const { infos, roots } = parseReferencesGraph(input, defaultStoreDir);
    const paths = new Set(infos.map(({ path }) => path));
    for (const path of [...roots, ...infos.flatMap(info => info.references)])
      assert.ok(paths.has(path), `${path} is not in its graph`);
    return true;
  },
};

const half = 'KiioVpaiSL3MkCSlrFfQhKLSWTfx0GEbdLPLqOC81wY=';
const secretBytes =
  'tU7tTvLcScf8pmz/eTV0BEtLmRsPpZfKaRcd0nCN+pysBZPHSeg61/u2oc7mIOewfuAY1V1BiX32homTaDJ2Jw==';

const key: Target = {
  name: 'key',
  perRound: 100,
  limitMs,
  grammar: random =>
    pick(random, ['k', 'cache.example-1', '', 'a b', '\n', ' k', 'k:', '\xff']) +
    pick(random, [':', ':', ':', '', '::', ': ']) +
    pick(random, [secretBytes, secretBytes, half, half, '', secretBytes.slice(0, 86), 'AAAA']) +
    pick(random, ['', '', '\n', '\r\n', '=', 'x', '\0']),
  accepts: input => {
    for (const parse of [parseSecretKey, parsePublicKey]) {
      try {
        parse(input, 'the file');
        return true;
      } catch (error) {
        if (!(error instanceof GranaryError)) throw error;
        assert.equal(error.message.includes(secretBytes.slice(0, 20)), false, 'it told the secret');
      }
    }
    return false;
  },
};

/** A text that has one canonical spelling: what is read from that is that. */
const spelled = (
  name: string,
  seeds: readonly string[],
  canonical: (text: string) => string,
): Target => ({
  name,
  perRound: 300,
  limitMs,
  grammar: random => pick(random, seeds),
  accepts: input => {
    const text = canonical(input);
    assert.equal(
      lawfully(() => canonical(text)),
      text,
    );
    return true;
  },
});

const texts: readonly Target[] = [
  spelled('signature', fieldValues.Sig!, parseSignature),
  spelled('content address', fieldValues.CA!, parseContentAddress),
  spelled('hash', fieldValues.NarHash!, text => parseHash(text)),
  spelled('store path', fieldValues.StorePath!, text => {
    const path = normalizeStorePath(text, defaultStoreDir);
    return parseStorePath(path, defaultStoreDir);
  }),
  {
    name: 'base-32',
    perRound: 300,
    limitMs,
    grammar: random => pick(random, fieldValues.NarHash!).replace(/^sha\d+[:-]/, ''),
    accepts: input => {
      const bytes = decodeBase32(input);
      if (bytes) assert.equal(encodeBase32(bytes), input);
      if (bytes?.length === 32)
        assert.equal(
          lawfully(() => hexOf(parseHash(`sha256:${input}`))),
          bytes.toString('hex'),
        );
      return bytes !== undefined;
    },
  },
];

const zstdSkippable = Buffer.from('502a4d1804000000deadbeef', 'hex');

/** Files of xz (nothing, a byte, 300 bytes, one without checksums): several and padding make one. */
const xzStreams = [
  '/Td6WFoAAATm1rRGAAAAABzfRCEftvN9AQAAAAAEWVo=',
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAAYQAAAAAFK2Uud4QCMwABGQGlLIHMH7bzfQEAAAAABFla',
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AErAAhdADxv+7e/7gAAAEULqjN/+VvkAAEkrAIAAADhKbZAscRn+wIAAAAABFla',
  '/Td6WFoAAAD/EtlBAgAhARYAAAB0L+WjAQADbm9uZQAAARQEZ6ZFCQZynnoBAAAAAABZWg==',
].map(text => Buffer.from(text, 'base64').toString('latin1'));

/** Files of each compression, in one piece or several. */
const compressed: Readonly<Record<string, (bytes: Buffer, random: Random) => Buffer>> = {
  zstd: (bytes, random) => {
    const frames = [bytes.subarray(0, 100), bytes.subarray(100), Buffer.alloc(0)].map(part =>
      random() < 0.2 ? zstdSkippable : zstdCompressSync(part),
    );
    return Buffer.concat(random() < 0.5 ? frames : [zstdCompressSync(bytes)]);
  },
  gzip: (bytes, random) =>
    Buffer.concat(random() < 0.5 ? [gzipSync(bytes)] : [gzipSync(bytes), gzipSync('more')]),
  br: bytes => brotliCompressSync(bytes, { params: { 1: 1 } }),
};

const codec = (name: WritableCompression, grammar: Target['grammar']): Target => ({
  name,
  perRound: 20,
  limitMs: 10_000,
  grammar,
  accepts: async input => {
    const limit = 2 ** 20;
    let size = 0;
    const file = cut(Buffer.from(input, 'latin1'), 1 + (input.length % 4096));
    for await (const chunk of codecFor(name).decompress(file, limit)) size += chunk.length;
    assert.ok(size <= limit);
    return true;
  },
});

const codecTargets: readonly Target[] = [
  ...Object.entries(compressed).map(([name, compress]) =>
    codec(name as WritableCompression, random =>
      compress(Buffer.from(narText(random), 'latin1'), random).toString('latin1'),
    ),
  ),
  codec('xz', random => {
    const streams = some(random, xzStreams, 3).join('\0'.repeat(4 * below(random, 3)));
    return random() < 0.3 ? streams : bent(random, streams);
  }),
];

const [asked] = graphPaths.map(path => parseStorePath(path, defaultStoreDir));

/** Messages of every kind, whole or not, and an answer. */
const daemonWords: readonly Buffer[] = [
  encode(0x6f6c6d67, 'a line of a log'),
  encode(0x53545254, 1, 0, 100, 'copying', 2, 0, 5, 1, 'text', 0),
  encode(0x53544f50, 1),
  encode(0x52534c54, 1, 105, 1, 1, 'text'),
  encode(0x616c7473),
  encode(0x63787470, 'Error', 0, 'Error', 'it failed', 0, 1, 0, 'while trying'),
];

const daemonReply: Target = {
  name: 'daemon reply',
  perRound: 200,
  limitMs,
  grammar: random => {
    const rarely = <T>(odd: T, usual: T): T => (random() < 0.1 ? odd : usual);
    const answer = encode(
      rarely(below(random, 3), 1),
      pick(random, ['', ...graphPaths]),
      rarely(fieldValues.NarHash![0]!.slice(7), 'ab'.repeat(32)),
      rarely([...graphPaths, ''], some(random, graphPaths, 3)),
      below(random, 1000),
      below(random, 1000),
      below(random, 2),
      rarely(some(random, fieldValues.Sig!, 3), [signature]),
      rarely(pick(random, fieldValues.CA!), ''),
    );
    const words = some(random, rarely(daemonWords, daemonWords.slice(0, 4)), 4);
    return Buffer.concat([...words, daemonWords[4]!, answer]).toString('latin1');
  },
  accepts: input => {
    function* reply(): Reading<PathInfo | undefined> {
      for (
        let message = yield* readMessage();
        message.type !== 'last';
        message = yield* readMessage()
      )
        if (message.type === 'error') return undefined;
      return yield* readPathInfo(asked!);
    }
    const info = readFrom(Buffer.from(input, 'latin1'), reply())?.value;
    if (info === undefined) return false;
    const again = lawfully(() => readFrom(encode(1, ...infoParts(info)), readPathInfo(asked!)));
    assert.deepEqual(again, { value: info, left: 0 });
    return true;
  },
};

export const parserTargets: readonly Target[] = [
  narInfo,
  cacheInfo,
  nar,
  listing,
  referencesGraph,
  key,
  ...texts,
  ...codecTargets,
  daemonReply,
];

function narText(random: Random): string {
  return (random() < 0.3 ? pick(random, narSingles) : narMutant(random)).bytes;
}

/** All of a NAR, given in pieces; throws `malformed` unless it is one. */
function readNarOf(input: string, piece: number) {
  const reader = new NarReader();
  const events: NarEvent[] = [];
  const whole = Buffer.from(input, 'latin1');
  for (const chunk of cut(whole, piece)) events.push(...reader.push(chunk));
  reader.end();
  const builder = new ListingBuilder();
  builder.push(events);
  return { events, bytes: whole.subarray(0, reader.offset), listing: printListing(builder.root!) };
}

function* cut(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += Math.max(1, size))
    yield bytes.subarray(at, at + Math.max(1, size));
}

function unlessMalformed<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof GranaryError) return undefined;
    throw error;
  }
}
