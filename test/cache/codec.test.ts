import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import type { Bytes } from '../../src/bytes.ts';
import { type Codec, codecFor, codecs } from '../../src/cache/codec.ts';

const MiB = 2 ** 20;

/** A file of a codec: pieces of `pieceSize`, or one stream. */
async function pack(codec: Codec, bytes: Buffer, options: Options = {}): Promise<Buffer> {
  const { level = codec.levels?.usual ?? 0, pieceSize = codec.pieceSize ?? bytes.length } = options;
  const packed: Uint8Array[] = [];
  if (codec.compressStream) {
    for await (const chunk of codec.compressStream(inChunks(bytes, options.chunk ?? 1000), level))
      packed.push(chunk);
  } else {
    for (let at = 0; at === 0 || at < bytes.length; at += pieceSize)
      packed.push(
        Uint8Array.from(await codec.compressPiece!(bytes.subarray(at, at + pieceSize), level)), // it is lent
      );
  }
  return Buffer.concat(packed);
}

interface Options {
  readonly level?: number;
  readonly pieceSize?: number;
  readonly chunk?: number;
}

function* inChunks(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpack(codec: Codec, bytes: Bytes, limit = 64 * MiB): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of codec.decompress(bytes, limit)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Numbers that look random and are the same each time. */
function noise(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0, seed = 1; at < size; at++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    bytes[at] = seed >>> 24;
  }
  return bytes;
}

const text = Buffer.from('a NAR is a node, and all below it; '.repeat(3000));
const mixed = Buffer.concat([text, noise(70_000), Buffer.alloc(300_000)]);
const compressed = Object.entries(codecs).filter(([name]) => name !== 'none');

for (const [name, codec] of Object.entries(codecs)) {
  test(`${name} gives back what it was given, in pieces of any size and chunks of any`, async () => {
    for (const pieceSize of [mixed.length, 100_000, 77_777]) {
      const packed = await pack(codec, mixed, { pieceSize });
      for (const chunk of [packed.length, 65_536, 997])
        ok((await unpack(codec, inChunks(packed, chunk))).equals(mixed));
    }
  });

  test(`${name} holds nothing, and one byte`, async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('x')])
      deepEqual(await unpack(codec, [await pack(codec, bytes)]), bytes);
  });

  test(`${name} makes the same bytes twice`, async () => {
    for (const level of [codec.levels?.min ?? 0, codec.levels?.usual ?? 0]) {
      const first = await pack(codec, mixed, { level, chunk: 1000 });
      const second = await pack(codec, mixed, { level, chunk: 65_536 });
      ok(first.equals(second));
    }
  });

  test(`${name} is stopped once more than the limit comes out`, async () => {
    const zeros = await pack(codec, Buffer.alloc(8 * MiB));
    await rejects(unpack(codec, [zeros], 8 * MiB - 1), { code: 'corrupt' });
    let size = 0;
    const bomb = async (): Promise<void> => {
      for await (const chunk of codec.decompress([zeros], 1000)) size += chunk.length;
    };
    await rejects(bomb, { code: 'corrupt', facts: { expected: 1000 } });
    equal(size, 1000);
    equal((await unpack(codec, [zeros], 8 * MiB)).length, 8 * MiB);
  });

  test(`${name} passes on the error of what it reads from, and closes it when it is left`, async () => {
    const packed = await pack(codec, noise(3 * MiB));
    const trouble = new Error('the disk is gone');
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield packed.subarray(0, 100);
      throw trouble;
    }
    await rejects(unpack(codec, failing()), trouble);
    let closed = false;
    async function* watched(): AsyncGenerator<Uint8Array> {
      try {
        yield* inChunks(packed, 65_536);
      } finally {
        closed = true;
      }
    }
    for await (const _ of codec.decompress(watched(), 4 * MiB)) break;
    await new Promise(setImmediate);
    equal(closed, true);
  });
}

for (const [name, codec] of compressed) {
  test(`${name} refuses a file that ends too soon, at every byte`, async () => {
    const bytes = Buffer.from('some words, some words, some more words');
    const [first, second] = [await pack(codec, bytes), await pack(codec, bytes)];
    for (let size = 0; size < first.length; size++)
      await rejects(unpack(codec, [first.subarray(0, size)]), { code: 'malformed' }, `${size}`);
    if (codec.pieceSize === undefined) return;
    const both = Buffer.concat([first, second]);
    equal((await unpack(codec, [both])).length, 2 * bytes.length);
    for (let size = first.length + 1; size < both.length; size++)
      await rejects(unpack(codec, [both.subarray(0, size)]), { code: 'malformed' }, `${size}`);
  });

  test(`${name} refuses what follows its end, in the same chunk or the next`, async () => {
    const packed = await pack(codec, text);
    for (const junk of ['\0', '\x1f', '(', 'x', '\0\0\0', 'junk', '\x1f\x8b', '\xff'.repeat(40)])
      for (const chunks of [
        [Buffer.concat([packed, Buffer.from(junk, 'latin1')])],
        [packed, Buffer.from(junk, 'latin1')],
      ])
        await rejects(unpack(codec, chunks), { code: 'malformed' }, JSON.stringify(junk));
  });

  test(`${name} gives any bytes back, or says malformed`, async () => {
    const packed = await pack(codec, text);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(packed.length - 1),
        fc.uint8Array({ maxLength: 9 }),
        async (at, to) => {
          const bent = Buffer.from(packed);
          bent.set(to.subarray(0, bent.length - at), at);
          try {
            await unpack(codec, [bent], text.length);
          } catch (error) {
            ok(['malformed', 'corrupt'].includes((error as { code: string }).code), String(error));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test(`${name} takes every level, and the highest is smaller than the lowest`, async () => {
    const { min, max } = codec.levels!;
    for (let level = min; level <= max; level++) {
      const packed = await pack(codec, text.subarray(0, 5000), { level });
      ok((await unpack(codec, [packed])).equals(text.subarray(0, 5000)));
    }
    const [lowest, highest] = [
      await pack(codec, mixed, { level: min }),
      await pack(codec, mixed, { level: max }),
    ];
    ok(highest.length < lowest.length);
  });
}

const tools: Record<string, string[]> = {
  zstd: ['zstd', '-dcq'],
  xz: ['xz', '-dc'],
  gzip: ['gzip', '-dc'],
};
for (const [name, [tool, ...options]] of Object.entries(tools)) {
  const missing = spawnSync(tool!, ['--version']).error && `${tool} is not on this machine`;
  test(`${name} files of several pieces are read by ${tool}`, {
    skip: missing ?? false,
  }, async () => {
    const packed = await pack(codecFor(name), mixed, { pieceSize: 100_000 });
    const { stdout } = spawnSync(tool!, options, { input: packed, maxBuffer: 4 * MiB });
    ok(stdout.equals(mixed));
  });
  test(`${name} files of ${tool} are read`, { skip: missing ?? false }, async () => {
    const packed = spawnSync(tool!, ['-c'], { input: mixed, maxBuffer: 4 * MiB }).stdout;
    ok((await unpack(codecFor(name), inChunks(packed, 5000))).equals(mixed));
  });
}

test('the extensions are those of Nix', () => {
  deepEqual(
    Object.entries(codecs).map(([name, { extension }]) => [name, extension]),
    [
      ['zstd', '.zst'],
      ['xz', '.xz'],
      ['gzip', ''],
      ['br', '.br'],
      ['none', ''],
    ],
  );
});

test('a codec compresses pieces or a stream, never both', () => {
  for (const codec of Object.values(codecs)) {
    equal(codec.compressPiece === undefined, codec.pieceSize === undefined);
    equal(codec.compressPiece === undefined, codec.compressStream !== undefined);
  }
});

test('codecFor refuses the names that it does not know, as usage', () => {
  for (const name of ['bzip2', 'lzip', 'toString', '__proto__', '', 'ZSTD'])
    try {
      codecFor(name);
      ok(false, name);
    } catch (error) {
      equal((error as { code: string }).code, 'usage');
    }
});

test('gzip says no time and no name in its header', async () => {
  const packed = await pack(codecs.gzip, text);
  deepEqual([...packed.subarray(0, 8)], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
});

test('a gzip or br file that somebody else made is read, in one chunk or many', async () => {
  for (const [codec, packed] of [
    [codecs.gzip, gzipSync(mixed)],
    [codecs.br, brotliCompressSync(mixed)],
  ] as const)
    for (const size of [packed.length, 1000, 33])
      ok((await unpack(codec, inChunks(packed, size))).equals(mixed));
});

test('xz skips padding of four zeros between and after streams, and refuses other padding', async () => {
  const packed = await pack(codecs.xz, text);
  for (const zeros of [4, 8, 4096])
    ok(
      (await unpack(codecs.xz, [packed, Buffer.alloc(zeros), packed, Buffer.alloc(zeros)])).equals(
        Buffer.concat([text, text]),
      ),
    );
  for (const zeros of [1, 2, 3, 5])
    await rejects(unpack(codecs.xz, [packed, Buffer.alloc(zeros), packed]), { code: 'malformed' });
});

test('xz is quick with bytes that are full of its end mark', async () => {
  const marks = Buffer.from('YZ'.repeat(MiB));
  const packed = await pack(codecs.xz, marks, { level: 0 });
  ok((await unpack(codecs.xz, [packed])).equals(marks));
});

test('xz refuses a dictionary that takes more memory than its limit', async () => {
  const packed = await pack(codecs.xz, Buffer.from('x'));
  // The block header holds the size of the dictionary as its filter's one property, then its CRC32.
  const at = packed.indexOf(Buffer.from([0x21, 0x01])) + 2;
  packed[at] = 40;
  const { crc32 } = await import('node:zlib');
  packed.writeUInt32LE(crc32(packed.subarray(12, 20)), 20);
  await rejects(unpack(codecs.xz, [packed]), { code: 'malformed', message: /[Mm]emory/ });
});

test('xz works in several threads at once', async () => {
  const source = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('../../src/cache/codec.ts', import.meta.url).href)}).then(
      async ({ codecs }) => parentPort.postMessage(await codecs.xz.compressPiece(Buffer.alloc(99999, 'ab'), 6)));`;
  const made = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise<Uint8Array>((resolve, reject) =>
          new Worker(source, { eval: true }).once('message', resolve).once('error', reject),
        ),
    ),
  );
  for (const packed of made)
    ok((await unpack(codecs.xz, [packed])).equals(Buffer.alloc(99_999, 'ab')));
});

test('xz without lzma-native is a usage error that says what to do', () => {
  const source = `
    import { registerHooks } from 'node:module';
    registerHooks({
      resolve: (name, context, next) => {
        if (name === 'lzma-native') throw new Error('there is no such package');
        return next(name, context);
      },
    });
    const { codecs } = await import('${new URL('../../src/cache/codec.ts', import.meta.url)}');
    const failed = error => console.log(error.code, error.message);
    await codecs.xz.compressPiece(new Uint8Array(1), 6).catch(failed);
    await codecs.xz.decompress([], 1).next().catch(failed);`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', source]);
  const line =
    'usage Cannot read or write xz: the optional package lzma-native cannot be loaded; install it, or use zstd\n';
  equal(String(stdout), line + line);
});
