import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib';
import type { Bytes } from '../../src/bytes.ts';
import { readZstd } from '../../src/cache/zstd-frames.ts';

const MiB = 2 ** 20;

async function read(...chunks: Uint8Array[]): Promise<Buffer> {
  const contents: Uint8Array[] = [];
  for await (const content of readZstd(chunks)) contents.push(content);
  return Buffer.concat(contents);
}

/** A frame as a pipe makes it: without its content size. */
async function streamed(bytes: Bytes, params: Record<number, number> = {}): Promise<Buffer> {
  const engine = createZstdCompress({ params });
  for await (const chunk of bytes) engine.write(chunk);
  engine.end();
  return Buffer.concat(await engine.toArray());
}

function* inChunks(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const text = Buffer.from('frames are found by walking their blocks; '.repeat(9000));
const hex = (bytes: string): Buffer => Buffer.from(bytes.replaceAll(' ', ''), 'hex');
const skippable = hex('5a2a4d18 05000000 0102030405');
/** A frame by hand: one segment, content size in one byte, one raw last block. */
const byHand = hex('28b52ffd 20 03 190000 616263');

test('a frame written by hand is read, alone and beside others', async () => {
  equal(String(await read(byHand)), 'abc');
  equal(String(await read(byHand, byHand, skippable, byHand)), 'abcabcabc');
});

test('a block that repeats one byte is read', async () => {
  equal(String(await read(hex('28b52ffd 20 05 2b0000 7a'))), 'zzzzz');
});

test('a content size in one, two, four or eight bytes is read, and must be true', async () => {
  const block = '190000 616263';
  const sizes = { '20 03': true, 'a0 03000000': true, 'e0 0300000000000000': true, '20 04': false };
  for (const [size, fits] of Object.entries(sizes)) {
    const frame = hex(`28b52ffd ${size} ${block}`);
    if (fits) equal(String(await read(frame)), 'abc');
    else await rejects(read(frame), { code: 'malformed' });
  }
  const short = zstdCompressSync(text.subarray(0, 300));
  equal(short[4]! >> 6, 1);
  deepEqual(await read(short), text.subarray(0, 300));
});

test('skippable frames of all sixteen kinds are skipped, first, last, alone and empty', async () => {
  const frame = zstdCompressSync(text);
  for (let kind = 0x50; kind < 0x60; kind++) {
    skippable[0] = kind;
    ok((await read(skippable, frame, skippable)).equals(text));
  }
  equal((await read(skippable)).length, 0);
  equal((await read(hex('502a4d18 00000000'))).length, 0);
});

test('a skippable frame that states more than there is costs nothing and is refused', async () => {
  await rejects(read(hex('502a4d18 ffffffff 00')), { code: 'malformed', facts: { byte: 9 } });
});

test('a frame without content size is read as a stream, with and without a checksum', async () => {
  for (const checksum of [0, 1]) {
    const frame = await streamed(inChunks(text, 5000), {
      [constants.ZSTD_c_checksumFlag]: checksum,
    });
    equal(frame[4]! >> 6, 0);
    equal((frame[4]! & 4) !== 0, checksum === 1);
    ok(
      (await read(...inChunks(Buffer.concat([frame, frame]), 777))).equals(
        Buffer.concat([text, text]),
      ),
    );
    for (const size of [frame.length - 1, frame.length - 4, 10, 5])
      await rejects(read(frame.subarray(0, size)), { code: 'malformed', message: /in the middle/ });
  }
});

test('a big frame with content size is read as a stream', async () => {
  const big = Buffer.concat(Array.from({ length: 24 }, () => text));
  ok(big.length > 8 * MiB);
  const frame = zstdCompressSync(big);
  ok((await read(...inChunks(frame, 10_000))).equals(big));
  await rejects(read(frame.subarray(0, -1)), { code: 'malformed' });
});

test('a wrong checksum is refused', async () => {
  const frame = zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  frame[frame.length - 1]! ^= 1;
  await rejects(read(frame), { code: 'malformed' });
});

test('a small frame of very many empty blocks is read in bounded memory', async () => {
  const blocks = Buffer.alloc(3 * 2 * MiB); // each three zeros: raw, empty, not the last
  const frame = Buffer.concat([hex('28b52ffd 20 03'), blocks, hex('190000 616263')]);
  equal(String(await read(...inChunks(frame, 65_536))), 'abc');
});

test('ten thousand small frames are read, whatever the chunks', async () => {
  const many = Buffer.concat(Array.from({ length: 10_000 }, () => byHand));
  equal((await read(...inChunks(many, 1001))).length, 30_000);
});

const bad: Record<string, [string, RegExp]> = {
  nothing: ['', /ends in the middle/],
  'another magic': ['28b52ffe 20 00 010000', /no frame starts here/],
  'the legacy format': ['27b52ffd 20 00 010000', /no frame starts here/],
  'a reserved bit': ['28b52ffd 28 00 010000', /reserved bit/],
  'a dictionary': ['28b52ffd 21 07 00 010000', /needs a dictionary/],
  'a reserved block': ['28b52ffd 20 00 070000', /reserved type/],
  'a window of 256 MiB': ['28b52ffd 00 90 010000', /window over/],
  'a window of one and an eighth times 128 MiB': ['28b52ffd 00 89 010000', /window over/],
  'one segment of 2^60 bytes': ['28b52ffd e0 0000000000000010 010000', /window over/],
  'a block that is cut': ['28b52ffd 20 03 190000 6162', /ends in the middle/],
  'a block over the largest size': [`28b52ffd 20 03 ${'f9ffff'} ${'61'.repeat(300)}`, /./],
  'a missing last block': ['28b52ffd 20 03 180000 616263', /ends in the middle/],
};
for (const [what, [bytes, message]] of Object.entries(bad))
  test(`readZstd refuses ${what}`, async () => {
    await rejects(read(hex(bytes)), { name: 'GranaryError', code: 'malformed', message });
    await rejects(read(...inChunks(hex(bytes), 1)), { code: 'malformed', message });
  });

test('a window of exactly 128 MiB is read', async () => {
  equal(String(await read(hex('28b52ffd 00 88 190000 616263'))), 'abc');
});

test('a dictionary id of zero is none', async () => {
  equal(String(await read(hex('28b52ffd 21 00 03 190000 616263'))), 'abc');
});

test('an error says at which byte its frame starts', async () => {
  await rejects(read(byHand, Buffer.from('junk')), { facts: { byte: byHand.length } });
});
