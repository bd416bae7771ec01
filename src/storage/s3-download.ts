/** An object as it comes: where its connection breaks, another goes on from there, as long as it is the same object. */
import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { encodingIn } from './content-encoding.ts';
import type { Opened } from './s3-client.ts';
import { NotS3 } from './s3-error.ts';
import type { Span } from './storage.ts';

/** What was found, before it is read. */
export interface S3Download {
  /** bytes */
  readonly size: number;
  /** A Content-Encoding that changes bytes: of these, not of the value, is the size. */
  readonly encoding: string | undefined;
  readonly bytes: AsyncGenerator<Uint8Array>;
  /** Ends it unread. */
  drop(): void;
}

/** Attempts in a row that bring nothing. */
const attempts = 5;
const pauseMs = 200;

/** @throws the SDK's errors as they are, and `NotS3` */
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
  const start = span?.start ?? 0;
  const first = await ask(start, span?.length);
  const size = first.ContentLength;
  if (size === undefined) throw noAnswer(first.Body, 'it does not say how long it is');
  if (start > 0 || span) beginsAt(start, first);
  async function* bytes(): AsyncGenerator<Uint8Array> {
    let body = first.Body as Readable;
    let done = 0;
    for (let failures = 0; ; ) {
      try {
        for await (const chunk of body as AsyncIterable<Uint8Array>) {
          done += chunk.length;
          if (done > size!) throw noAnswer(body, 'more comes than it says');
          failures = 0;
          yield chunk;
        }
        if (done === size) return;
        throw Object.assign(new Error('it ended early'), { code: 'ECONNRESET' });
      } catch (error) {
        body.destroy();
        if (error instanceof NotS3 || ++failures >= attempts || first.ETag === undefined)
          throw error;
        if (done >= size!) throw error;
        await new Promise(resolve => setTimeout(resolve, pauseMs * 2 ** failures));
        const rest = await ask(start + done, size! - done, first.ETag);
        beginsAt(start + done, rest);
        body = rest.Body as Readable;
      }
    }
  }
  const drop = (): void => {
    (first.Body as Readable).destroy();
  };
  return { size, encoding: encodingIn(first.ContentEncoding), bytes: bytes(), drop };
}

/** Who answers a Range with another part, or with all, gives wrong bytes. */
function beginsAt(
  start: number,
  { ContentRange, Body }: Pick<GetObjectCommandOutput, 'ContentRange' | 'Body'>,
): void {
  if (!ContentRange?.startsWith(`bytes ${start}-`))
    throw noAnswer(Body, `asked for bytes from ${start} on it gives ${ContentRange ?? 'all'}`);
}

function noAnswer(body: unknown, why: string): Error {
  (body as Readable | undefined)?.destroy();
  return new NotS3(why);
}
