/** Bytes on their way: a sequence of chunks, and the few things every room does with one. */

export type Bytes = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** All bytes in one buffer. Only for what is known to be small: `limit` is where it gives up. */
export async function collect(bytes: Bytes, limit: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return chunks.length === 1 ? Buffer.from(chunks[0]!) : Buffer.concat(chunks, size);
}

/** Who is lent a chunk may keep it if it has no more bytes than this. */
export const keptBytes = 64 << 10;

/** Gives back the memory of bytes that nobody needs any more, but for small ones: they share Node's pool. */
export function release({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize) buffer.transfer(0);
}

/** One byte a char, so that `<` is byte order and nothing is lost: how this code holds names. */
export const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

/** What a person should see of a latin-1 name: UTF-8 where it is that, `\xNN` where it is not. */
export function readable(name: string): string {
  const bytes = Buffer.from(name, 'latin1');
  const text = bytes.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(bytes)) return text.replace(/[\x00-\x1f\x7f]/g, hexEscape);
  return name.replace(/[\x00-\x1f\x7f-\xff]/g, hexEscape);
}

/** A URL, or what was meant to be one, as it may be shown. */
export const withoutPassword = (name: string): string =>
  name.replace(/^([a-z][a-z0-9+.-]*:\/*)[^?#]*@/i, '$1…@');

const hexEscape = (char: string): string =>
  `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
