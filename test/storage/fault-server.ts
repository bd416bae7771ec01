/** All that servers, and what is between them and us, do wrong: one fault a function. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { Handler, Rest } from './http-server.ts';

/** A fault, and whether the server's own words give it away. */
interface Fault {
  readonly isSeen: boolean;
  readonly do: (request: IncomingMessage, reply: ServerResponse, tried: Tried) => unknown;
}

interface Tried extends Rest {
  readonly draw: () => number;
}

/** The value's bytes, and where to cut them. */
async function halved({ value, draw }: Tried): Promise<readonly [Buffer, number]> {
  const bytes = (await value()) ?? Buffer.alloc(0);
  return [bytes, Math.floor(draw() * bytes.length)];
}

const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Fault['do'] =>
  (_, reply) =>
    reply.writeHead(code, headers).end('no');

const page = Buffer.from('<!DOCTYPE html>\n<html><title>Sign in: the network</title></html>\n');

export const faults: Readonly<Record<string, Fault>> = {
  'a reset': { isSeen: true, do: request => request.socket.resetAndDestroy() },
  'a short body': {
    isSeen: true,
    do: async (request, reply, tried) => {
      const [bytes, at] = await halved(tried);
      reply.writeHead(200, { 'content-length': bytes.length + 1 });
      reply.write(bytes.subarray(0, at), () => request.socket.destroy());
    },
  },
  'a short body of the right version': {
    isSeen: true,
    do: async (request, reply, tried) => {
      const write = reply.write.bind(reply);
      const at = Math.floor(tried.draw() * 100_000);
      reply.end = ((bytes?: Buffer) => {
        if (bytes === undefined || bytes.length <= at) request.socket.destroy();
        else write(bytes.subarray(0, at), () => request.socket.destroy());
        return reply;
      }) as typeof reply.end;
      await tried.pass();
    },
  },
  'a stall': {
    isSeen: true,
    do: async (_, reply, tried) => {
      const [bytes, at] = await halved(tried);
      reply.writeHead(200, { 'content-length': bytes.length });
      reply.flushHeaders();
      if (at > 0) reply.write(bytes.subarray(0, at));
    },
  },
  'no answer': { isSeen: true, do: () => {} },
  'too many requests, for now': { isSeen: true, do: status(429, { 'retry-after': '1' }) },
  'unavailable until a date': {
    isSeen: true,
    do: status(503, { 'retry-after': 'Fri, 31 Dec 1999 23:59:59 GMT' }),
  },
  'a bad gateway': { isSeen: true, do: status(502) },
  'a teapot': { isSeen: true, do: status(418) },
  'a circle of redirects': {
    isSeen: true,
    do: (request, reply) => reply.writeHead(302, { location: request.url! }).end(),
  },
  'a redirect to nowhere': { isSeen: true, do: status(302) },
  'chunks without an end': {
    isSeen: true,
    do: async (request, reply, tried) => {
      const [bytes, at] = await halved(tried);
      reply.writeHead(200);
      reply.write(Buffer.concat([bytes.subarray(0, at), Buffer.from('x')]), () =>
        request.socket.end(),
      );
    },
  },
  'neither a length nor chunks': {
    isSeen: true,
    do: async (request, _, tried) => {
      const [bytes, at] = await halved(tried);
      request.socket.end(
        Buffer.concat([Buffer.from('HTTP/1.0 200 OK\r\n\r\n'), bytes.subarray(at)]),
      );
    },
  },
  'no HTTP at all': {
    isSeen: true,
    do: request => request.socket.end('220 mail.example ESMTP\r\n'),
  },
  'another part': {
    isSeen: true,
    do: async (_, reply, tried) => {
      const [bytes, at] = await halved(tried);
      const range = `bytes ${at + 1}-${bytes.length}/${bytes.length + 1}`;
      reply.writeHead(206, { 'content-range': range }).end(bytes.subarray(at));
    },
  },
  'a broken encoding': {
    isSeen: true,
    do: async (_, reply, tried) => {
      const [bytes] = await halved(tried);
      const packed = gzipSync(bytes).subarray(0, -9);
      reply.writeHead(200, { 'content-encoding': 'gzip' }).end(packed);
    },
  },
  'a Range that is ignored': {
    isSeen: true,
    do: (request, _, { pass }) => {
      delete request.headers.range;
      return pass();
    },
  },
  'chunks, slowly': {
    isSeen: true,
    do: async (_, reply, tried) => {
      const [bytes, at] = await halved(tried);
      reply.writeHead(200);
      if (at > 0) reply.write(bytes.subarray(0, at));
      setTimeout(() => reply.end(bytes.subarray(at)), 5);
    },
  },
  'an encoding that nobody asked for': {
    isSeen: true,
    do: async (_, reply, { value }) => {
      const packed = gzipSync((await value()) ?? '');
      reply.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length });
      reply.end(packed);
    },
  },
  'a web page': { isSeen: false, do: (_, reply) => reply.writeHead(200).end(page) },
  'other bytes': {
    isSeen: false,
    do: async (_, reply, tried) => {
      const [bytes, at] = await halved(tried);
      const other = Buffer.from(bytes);
      if (other.length > 0) other[at]! ^= 1;
      reply.writeHead(200, { 'content-length': other.length }).end(other);
    },
  },
  'a length that is too short': {
    isSeen: false,
    do: async (_, reply, tried) => {
      const [bytes, at] = await halved(tried);
      reply.writeHead(200, { 'content-length': at }).end(bytes);
    },
  },
};

/** A server that often does one of these, and tells which. */
export const faulty =
  (names: readonly string[], draw: () => number, met: (name: string) => void): Handler =>
  (request, reply, rest) => {
    if (draw() < 0.5) return rest.pass();
    const name = names[Math.floor(draw() * names.length)]!;
    met(name);
    if (request.method === 'HEAD' && name !== 'a reset') return rest.pass();
    return faults[name]!.do(request, reply, { ...rest, draw });
  };
