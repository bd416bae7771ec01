import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type Codec, codecs } from '../../src/cache/codec.ts';
import { checkedNar, checkNar, type NarClaim } from '../../src/cache/nar-check.ts';
import { GranaryError } from '../../src/errors.ts';
import { type HashAlgorithm, hashOf, sha256 } from '../../src/format/hash.ts';
import { type UnplacedEvent, writeNar } from '../../src/format/nar-write.ts';

const self = '0123456789abcdfghijklmnpqrsvwxyz';
const content = Buffer.from(`#!/bin/sh\nexec /nix/store/${self}-x/bin/y ${self}\n`);
const file = (name: string, bytes: Uint8Array): UnplacedEvent[] => [
  { type: 'file', name, size: bytes.length, executable: false },
  { type: 'data', bytes },
];
const narOf = (events: readonly UnplacedEvent[]): Buffer => Buffer.concat([...writeNar(events)]);
const nar = narOf([
  { type: 'directory', name: '' },
  { type: 'directory', name: 'bin' },
  ...file('run', content),
  { type: 'end' },
  { type: 'symlink', name: 'link', target: 'bin/run' },
  { type: 'end' },
]);

const claim = (changes: Partial<NarClaim> = {}): NarClaim => ({
  compression: 'none',
  limit: nar.length,
  listingLimit: 0,
  members: [],
  selves: [],
  nars: [],
  contents: [],
  ...changes,
});

async function packed({ compressPiece, compressStream, levels }: Codec): Promise<Buffer> {
  if (compressPiece) return Buffer.from(await compressPiece(nar, levels?.usual ?? 0));
  return Buffer.concat(await Array.fromAsync(compressStream!([nar], levels!.usual)));
}

/** As the bytes would come from a disk or a network. */
function* inChunks(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const sum = (algorithm: HashAlgorithm, bytes: Uint8Array) =>
  hashOf(algorithm, createHash(algorithm).update(bytes).digest());

for (const [compression, codec] of Object.entries(codecs)) {
  test(`checkNar tells the truth of a NAR in ${compression}, in chunks of any size`, async () => {
    const bytes = await packed(codec);
    for (const size of [1, 7, bytes.length]) {
      const facts = await checkNar(inChunks(bytes, size), claim({ compression }));
      equal(facts.fault, undefined);
      deepEqual([facts.fileHash, facts.fileSize], [sha256(bytes), bytes.length]);
      deepEqual([facts.narHash, facts.narSize], [sha256(nar), nar.length]);
    }
  });

  test(`checkNar hashes all of a file in ${compression} that is not what it should be`, async () => {
    const bytes = await packed(codec);
    const broken = {
      'cut short': [bytes.subarray(0, -3), /^(data|nar)$/],
      'with more behind it': [Buffer.concat([bytes, Buffer.from('more')]), /^(data|trailing)$/],
      'of something else': [Buffer.from('<html>'.repeat(10)), /^(data|nar)$/],
      empty: [Buffer.alloc(0), /^(data|nar)$/],
    } as const;
    for (const [what, [wrong, kind]] of Object.entries(broken)) {
      const facts = await checkNar([wrong], claim({ compression }));
      match(facts.fault?.kind ?? 'none', kind, what);
      deepEqual([facts.fileHash, facts.fileSize], [sha256(wrong), wrong.length], what);
    }
  });

  test(`checkNar takes no more than the limit out of ${compression}`, async () => {
    const bytes = await packed(codec);
    const facts = await checkNar([bytes], claim({ compression, limit: nar.length - 1 }));
    equal(facts.fault?.kind, 'long');
    deepEqual([facts.narHash, facts.narSize], [undefined, undefined]);
    equal(facts.fileHash, sha256(bytes));
  });
}

test('checkNar never fails for what is in a file, whatever its label', async () => {
  const anyClaim = fc.record({
    compression: fc.constantFrom(...Object.keys(codecs), 'bzip2', 'lzip'),
    limit: fc.nat(1000),
  });
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), anyClaim, async (bytes, changes) => {
      const { fileHash, fault } = await checkNar([bytes], claim(changes));
      equal(fileHash, sha256(bytes));
      equal(typeof fault, 'object');
    }),
    { numRuns: 200 },
  );
});

test('checkNar fails when the bytes cannot be had', async () => {
  async function* broken() {
    yield nar.subarray(0, 10);
    throw Object.assign(new Error('EIO'), { code: 'EIO' });
  }
  await rejects(checkNar(broken(), claim()), { code: 'EIO' });
});

test('what is wrong with where the bytes come from is no fault of the file, whatever its code', async () => {
  for (const code of ['usage', 'corrupt', 'malformed', 'unavailable'] as const) {
    async function* bytes(): AsyncGenerator<Uint8Array> {
      yield nar.subarray(0, 20);
      throw new GranaryError(code, 'The wire is cut');
    }
    for (const compression of ['none', 'zstd'])
      await rejects(checkNar(bytes(), claim({ compression })), {
        code,
        message: 'The wire is cut',
      });
  }
});

test('checkedNar gives what comes out, and at the end what it is; who stops early closes the file', async () => {
  const whole = checkedNar([nar], claim());
  const out: Uint8Array[] = [];
  for (;;) {
    const { done, value } = await whole.next();
    if (done) {
      deepEqual(value, await checkNar([nar], claim()));
      break;
    }
    out.push(value);
  }
  deepEqual(Buffer.concat(out), nar);
  let closed = false;
  async function* bytes(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield nar.subarray(0, 8);
    } finally {
      closed = true;
    }
  }
  for await (const _ of checkedNar(bytes(), claim())) break;
  equal(closed, true);
});

test('checkNar says what the first bytes look like, and that it cannot read some', async () => {
  const looks = await checkNar([gzipSync(nar)], claim({ compression: 'xz' }));
  deepEqual([looks.looksLike, looks.fault?.kind], ['gzip', 'data']);
  const unread = await checkNar([Buffer.from('BZh9')], claim({ compression: 'bzip2' }));
  deepEqual([unread.looksLike, unread.fault?.kind], ['bzip2', 'unread']);
  const plain = await checkNar([nar], claim({ compression: 'none' }));
  equal(plain.looksLike, 'none');
});

test('bytes behind the NAR are a fault of their own, and are in its hash and size', async () => {
  const more = Buffer.concat([nar, Buffer.from('12345678')]);
  const facts = await checkNar([more], claim({ limit: more.length }));
  deepEqual(
    [facts.fault?.kind, facts.narHash, facts.narSize],
    ['trailing', sha256(more), more.length],
  );
});

test('the hash without self-references is that of zeros and positions, over any border of chunks', async () => {
  const text = nar.toString('latin1');
  const positions = [...text.matchAll(new RegExp(self, 'g'))].map(found => `|${found.index}`);
  equal(positions.length, 2);
  const expected = sha256(text.replaceAll(self, '\0'.repeat(32)) + positions.join(''));
  for (const size of [1, 31, 33, nar.length]) {
    const facts = await checkNar(inChunks(nar, size), claim({ selves: [self] }));
    deepEqual(facts.moduloHashes, { [self]: expected });
  }
});

test('a content is hashed only where the NAR is of a single file', async () => {
  const asked = claim({ contents: ['sha1', 'sha256'], limit: 10_000 });
  const { contentHashes } = await checkNar([narOf(file('', content))], asked);
  deepEqual(contentHashes, { sha1: sum('sha1', content), sha256: sum('sha256', content) });
  deepEqual((await checkNar([nar], asked)).contentHashes, {});
  const empty = await checkNar([narOf(file('', Buffer.alloc(0)).slice(0, 1))], asked);
  equal(empty.contentHashes.sha256, sha256(''));
});

test('a NAR is hashed by other algorithms where they are asked for', async () => {
  const { narHashes } = await checkNar([nar], claim({ nars: ['sha512', 'md5'] }));
  deepEqual(narHashes, { sha512: sum('sha512', nar), md5: sum('md5', nar) });
});

test('a listing is built up to its limit and no further', async () => {
  const whole = await checkNar([nar], claim({ listingLimit: 1000 }));
  const offset = nar.indexOf(content);
  const run = `{"narOffset":${offset},"size":${content.length},"type":"regular"}`;
  const bin = `{"entries":{"run":${run}},"type":"directory"}`;
  const link = '{"target":"bin/run","type":"symlink"}';
  equal(
    whole.listing,
    `{"root":{"entries":{"bin":${bin},"link":${link}},"type":"directory"},"version":1}`,
  );
  equal(
    (await checkNar([nar], claim({ listingLimit: whole.listing!.length }))).listing,
    whole.listing,
  );
  equal((await checkNar([nar], claim({ listingLimit: 90 }))).listing, '');
  equal((await checkNar([nar], claim())).listing, undefined);
});

test('members are found where they are regular files, by their whole paths', async () => {
  const members = ['bin/run', 'run', 'bin', 'link', 'bin/run/', ''];
  deepEqual((await checkNar([nar], claim({ members }))).members, ['bin/run']);
});
