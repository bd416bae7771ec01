/**
 * What stands before the gateway in tests. It answers ranges, which the gateway's SQLite backend gets wrong (it begins
 * at byte 0, and goes on after the end), and does wrong itself what a test asks for.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3';

/** What happens to a request instead of an answer, or after so many bytes of its body. */
export type Fault = number | 'reset' | { readonly breakAfter: number };

export interface Front {
  readonly endpoint: string;
  /** Asked of each request. */
  fault: (asked: IncomingMessage) => Fault | undefined;
}

export async function openFront(gateway: string, client: S3Client): Promise<Front> {
  const server = createServer((asked, reply) => {
    const fault = front.fault(asked);
    if (fault === 'reset') asked.socket.destroy();
    else if (typeof fault === 'number') refuse(asked, reply, fault);
    else if (asked.method === 'GET' && asked.headers.range) part(asked, reply, fault?.breakAfter);
    else pass(asked, reply, fault?.breakAfter);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  const { port } = server.address() as AddressInfo;
  const front: Front = { endpoint: `http://127.0.0.1:${port}`, fault: () => undefined };

  function pass(asked: IncomingMessage, reply: ServerResponse, breakAfter?: number): void {
    const { method = '', headers } = asked;
    const onward = request(gateway + asked.url, { method, headers }, answer => {
      reply.writeHead(answer.statusCode!, answer.rawHeaders);
      send(answer, reply, breakAfter);
    });
    onward.on('error', () => reply.destroy());
    asked.on('close', () => asked.complete || onward.destroy());
    asked.pipe(onward);
  }

  async function part(asked: IncomingMessage, reply: ServerResponse, breakAfter?: number) {
    const [, Bucket = '', key = ''] = /^\/([^/?]+)\/([^?]*)/.exec(asked.url!) ?? [];
    try {
      const Key = decodeURIComponent(key);
      const whole = await client.send(new GetObjectCommand({ Bucket, Key }));
      const bytes = Buffer.from(await whole.Body!.transformToByteArray());
      const [, from = '', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(asked.headers.range!) ?? [];
      const [start, end] = [
        Number(from),
        Math.min(to === '' ? bytes.length : Number(to) + 1, bytes.length),
      ];
      const match = asked.headers['if-match'];
      if (match !== undefined && match !== whole.ETag) return refuse(asked, reply, 412);
      if (start >= bytes.length) return refuse(asked, reply, 416, 'InvalidRange');
      reply.writeHead(206, {
        'content-length': end - start,
        'content-range': `bytes ${start}-${end - 1}/${bytes.length}`,
        etag: whole.ETag,
      });
      send([bytes.subarray(start, end)], reply, breakAfter);
    } catch (error) {
      refuse(asked, reply, 404, (error as Error).name);
    }
  }
  return front;
}

/** Sends a body, or breaks off. */
async function send(
  bytes: AsyncIterable<Buffer> | Iterable<Buffer>,
  reply: ServerResponse,
  breakAfter = Number.POSITIVE_INFINITY,
): Promise<void> {
  let left = breakAfter;
  for await (const chunk of bytes) {
    reply.write(chunk.subarray(0, left));
    left -= chunk.length;
    if (left > 0) continue;
    setImmediate(() => reply.destroy()); // what was written goes out first
    return;
  }
  reply.end();
}

function refuse(
  asked: IncomingMessage,
  reply: ServerResponse,
  status: number,
  code = 'Fault',
): void {
  asked.resume();
  const body = asked.method === 'HEAD' ? '' : `<Error><Code>${code}</Code></Error>`;
  reply.writeHead(status, { 'content-type': 'application/xml' }).end(body);
}
