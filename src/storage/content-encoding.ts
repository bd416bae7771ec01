/**
 * A Content-Encoding, undone: Nix puts listings and logs so where it is asked to, and some servers do it whether they are
 * asked or not. The value is what comes out.
 */
import { pipeline } from 'node:stream';
import { createBrotliDecompress, createGunzip, createZstdDecompress } from 'node:zlib';
import type { Bytes } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import type { Span } from './storage.ts';

const decoders: Readonly<Record<string, () => ReturnType<typeof createGunzip>>> = {
  __proto__: null as never,
  gzip: createGunzip,
  'x-gzip': createGunzip,
  br: createBrotliDecompress,
  zstd: createZstdDecompress as typeof createGunzip,
};

/** The name of one that changes bytes; undefined for what means none. */
export function encodingIn(header: string | undefined): string | undefined {
  const names = (header ?? '').split(',').map(name => name.trim().toLowerCase());
  const changing = names.filter(name => !['', 'identity', 'aws-chunked'].includes(name));
  return changing.length === 0 ? undefined : changing.join(', ');
}

/** `refuse` makes the error for one that is unknown, or is not what came. */
export async function* withoutEncoding(
  encoding: string,
  bytes: AsyncGenerator<Uint8Array>,
  refuse: (why: string) => GranaryError,
): AsyncGenerator<Uint8Array> {
  const decoder = decoders[encoding]?.();
  if (!decoder) {
    await bytes.return(undefined);
    throw refuse(`it comes with the Content-Encoding ${encoding}, which cannot be undone here`);
  }
  pipeline(bytes, decoder, () => {}); // its failure is the decoder's
  try {
    yield* decoder;
  } catch (error) {
    if (error instanceof GranaryError) throw error;
    throw refuse(`its Content-Encoding ${encoding} cannot be undone: ${(error as Error).message}`);
  }
}

/** The span of some bytes, or what there is of it. */
export async function* cut(bytes: Bytes, { start, length }: Span): AsyncGenerator<Uint8Array> {
  let [skip, left] = [start, length];
  for await (const chunk of bytes) {
    const before = Math.min(skip, chunk.length);
    skip -= before;
    const part = chunk.subarray(before, before + left);
    left -= part.length;
    if (part.length > 0) yield part;
    if (left === 0) return;
  }
}
