/** A web server over a directory, as a plain one is: GET, HEAD and PUT, parts, ETags, no lists. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';
import { collect } from '../../src/bytes.ts';
import { sha256 } from '../../src/format/hash.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { isKey, type Storage } from '../../src/storage/storage.ts';

export interface Served {
  readonly url: string;
  /** What it serves; listing it waits for what is being written. */
  readonly behind: Storage;
  /** What was asked, the newest last. */
  readonly asked: readonly Asked[];
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

/** Answers a request, or leaves it to the directory. */
export type Handler = (request: IncomingMessage, reply: ServerResponse, rest: Rest) => unknown;

/** What a plain server would do. */
export interface Rest {
  /** Answers from the directory. */
  pass(): Promise<void>;
  /** What the directory has under the key that is asked for. */
  value(): Promise<Buffer | undefined>;
}

/** Serves `root` below the path `/cache` until the tests of the file end. */
export async function serve(
  root: string,
  handler: Handler = (_, __, { pass }) => pass(),
): Promise<Served> {
  const storage = directoryStorage(root, { flush: false });
  const asked: Asked[] = [];
  const busy = new Set<Promise<unknown>>();
  const server = createServer((request, reply) => {
    const { method = '', url: path = '', headers } = request;
    asked.push({ method, path, headers });
    const rest: Rest = {
      pass: () => answer(storage, request, reply),
      value: () => contentUnder(storage, keyOf(request)),
    };
    const work = (async () => handler(request, reply, rest))()
      .catch(() => request.socket.destroy())
      .finally(() => busy.delete(work));
    busy.add(work);
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  server.unref(); // a soak ends when its work is done
  server.on('connection', socket => socket.unref());
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  const behind: Storage = {
    ...storage,
    list: async function* (prefix) {
      await Promise.all(busy);
      yield* storage.list!(prefix);
    },
  };
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/cache`, behind, asked };
}

async function answer(
  storage: Storage,
  request: IncomingMessage,
  reply: ServerResponse,
): Promise<void> {
  const key = keyOf(request);
  if (key === undefined) return void reply.writeHead(404).end();
  if (request.method === 'PUT') {
    const size = Number(request.headers['content-length']);
    await storage.put(key, { size, open: () => request });
    return void reply.writeHead(201).end();
  }
  const value = await contentUnder(storage, key);
  if (!value) return void reply.writeHead(404, { 'content-length': 4 }).end('gone');
  const etag = `"${sha256(value).slice(7, 23)}"`;
  const { range, 'if-range': condition } = request.headers;
  const span = /^bytes=(\d+)-(\d*)$/.exec(range ?? '');
  const isPart = span && (condition === undefined || condition === etag);
  const start = isPart ? Number(span[1]) : 0;
  const end = Math.min(isPart && span[2] ? Number(span[2]) : Infinity, value.length - 1);
  if (isPart && start >= value.length)
    return void reply.writeHead(416, { 'content-range': `bytes */${value.length}` }).end();
  const body = value.subarray(start, end + 1);
  reply.writeHead(isPart ? 206 : 200, {
    etag,
    'accept-ranges': 'bytes',
    'content-length': body.length,
    ...(isPart ? { 'content-range': `bytes ${start}-${end}/${value.length}` } : {}),
  });
  reply.end(request.method === 'HEAD' ? undefined : body);
}

function keyOf(request: IncomingMessage): string | undefined {
  const { pathname } = new URL(request.url!, 'http://x');
  const encoded = /^\/cache\/(.*)$/s.exec(pathname)?.[1];
  const key = encoded?.split('/').map(decodeURIComponent).join('/');
  return key !== undefined && isKey(key) ? key : undefined;
}

async function contentUnder(
  storage: Storage,
  key: string | undefined,
): Promise<Buffer | undefined> {
  const found = key === undefined ? undefined : await storage.get(key);
  return found && (await collect(found.bytes, 1 << 26));
}
