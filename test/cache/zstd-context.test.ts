import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { constants, createZstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { zstdContent, zstdFrame } from '../../src/cache/zstd-context.ts';

/** The parameters of a level: the usual one has a small table. */
const level = (value: number) => ({
  params: {
    [constants.ZSTD_c_compressionLevel]: value,
    ...(value === 3 ? { [constants.ZSTD_c_hashLog]: 16 } : {}),
  },
});

/** What a call of its own makes of it, with a context of its own. */
const frameAlone = (content: Uint8Array, value: number): Buffer =>
  zstdCompressSync(content, { pledgedSrcSize: content.length, ...level(value) });

test('this Node has the interface below its streams, so contexts are used again', () => {
  const engine = createZstdCompress() as unknown as {
    readonly _handle: { readonly writeSync: unknown };
    readonly _writeState: Uint32Array;
  };
  equal(typeof engine._handle.writeSync, 'function');
  equal(engine._writeState.length, 2);
});

test('zstdFrame makes the frame that a context of its own makes, whatever it made before', () =>
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.uint8Array({ maxLength: 5000 }), fc.constantFrom(1, 3, 3, 19)), {
        maxLength: 10,
      }),
      contents => {
        for (const [content, value] of contents)
          deepEqual(Buffer.from(zstdFrame(content, value)), frameAlone(content, value));
      },
    ),
  ));

test('zstdFrame gives room to what does not compress, of any size', () => {
  for (const size of [0, 1, 100, 1 << 17, (1 << 17) + 1, 4 << 20]) {
    const noise = crypto.getRandomValues(new Uint8Array(Math.min(size, 1 << 16)));
    const content = Buffer.alloc(size, noise.length > 0 ? noise : undefined);
    deepEqual(zstdDecompressSync(zstdFrame(content, 3)), content);
  }
});

const text = Buffer.from('the content of a frame, '.repeat(500));
const frame = zstdCompressSync(text);
const into = (size: number) => Buffer.alloc(size);

const bad: Readonly<Record<string, readonly [Buffer, Buffer]>> = {
  'bytes that are no frame': [Buffer.from('no frame at all'), into(100)],
  'a frame with a byte changed': [
    Buffer.from(frame).fill(0xff, frame.length - 5),
    into(text.length + 1),
  ],
  'a content that the room is too small for': [frame, into(text.length)],
  'half a frame': [frame.subarray(0, -1), into(text.length + 1)],
  'bytes behind a frame': [Buffer.concat([frame, frame]), into(3 * text.length)],
};

for (const [what, [bytes, room]] of Object.entries(bad))
  test(`zstdContent refuses ${what}, and reads the next frame as if nothing had been`, () => {
    throws(() => zstdContent(bytes, room));
    const good = into(text.length + 1);
    equal(zstdContent(frame, good), text.length);
    deepEqual(good.subarray(0, text.length), text);
  });
