/** An object as it comes: where its connection breaks, another goes on from there, as long as it is the same object. */
import type { Readable } from 'node:stream';
import type { Opened } from './s3-client.ts';
import type { Span } from './storage.ts';

/** What was found, before it is read. */
export interface S3Download {
  /** bytes */
  readonly size: number;
  readonly bytes: AsyncGenerator<Uint8Array>;
}

/** Attempts in a row that bring nothing. */
const attempts = 5;
const pauseMs = 200;

/** @throws the SDK's errors as they are */
export async function openDownload(
  { client, sdk }: Opened,
  at: { readonly Bucket: string; readonly Key: string },
  span?: Span,
): Promise<S3Download> {
  const ask = async (start: number, length: number | undefined, IfMatch?: string) => {
    const end = length === undefined ? '' : start + length - 1;
    const Range = start === 0 && length === undefined ? {} : { Range: `bytes=${start}-${end}` };
    return client.send(
      new sdk.GetObjectCommand({ ...at, ...Range, ...(IfMatch === undefined ? {} : { IfMatch }) }),
    );
  };
  const first = await ask(span?.start ?? 0, span?.length);
  const size = first.ContentLength ?? 0;
  async function* bytes(): AsyncGenerator<Uint8Array> {
    let body = first.Body as Readable;
    let done = 0;
    for (let failures = 0; ; ) {
      try {
        for await (const chunk of body as AsyncIterable<Uint8Array>) {
          done += chunk.length;
          failures = 0;
          yield chunk;
        }
        if (done === size) return;
        throw Object.assign(new Error('it ended early'), { code: 'ECONNRESET' });
      } catch (error) {
        body.destroy();
        if (++failures >= attempts || first.ETag === undefined || done >= size) throw error;
        await new Promise(resolve => setTimeout(resolve, pauseMs * 2 ** failures));
        body = (await ask((span?.start ?? 0) + done, size - done, first.ETag)).Body as Readable;
      }
    }
  }
  return { size, bytes: bytes() };
}
