/** What stands before the gateway in tests, and does wrong what a test asks for. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What happens to a request instead of an answer, or after so many bytes of its body. */
export type Fault = number | 'reset' | { readonly breakAfter: number };

export interface Front {
  readonly endpoint: string;
  /** Asked of each request. */
  fault: (asked: IncomingMessage) => Fault | undefined;
}

export async function openFront(gateway: string): Promise<Front> {
  const server = createServer((asked, reply) => {
    const fault = front.fault(asked);
    if (fault === 'reset') asked.socket.destroy();
    else if (typeof fault === 'number') refuse(asked, reply, fault);
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

function refuse(asked: IncomingMessage, reply: ServerResponse, status: number): void {
  asked.resume();
  const body = asked.method === 'HEAD' ? '' : '<Error><Code>Fault</Code></Error>';
  reply.writeHead(status, { 'content-type': 'application/xml' }).end(body);
}
