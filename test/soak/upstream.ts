/**
 * A web server with a cache of any number of paths that is made as it is asked for: path `n` refers to `n / 2`
 * and `n / 3`, so each closure has tens of paths, and many share some. The same seed gives the same bytes.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hashOf, sha256 } from '../../src/format/hash.ts';
import { printNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir, parseBaseName, type StorePath } from '../../src/format/store-path.ts';
import { narOfFile } from './nar-of-file.ts';

export interface Upstream extends AsyncDisposable {
  readonly url: string;
  path(at: number): StorePath;
  /** Requests so far. */
  readonly asked: number;
  /** Ends as soon as there were so many. */
  askedFor(requests: number): Promise<void>;
}

/** Serves `count` paths on loopback. */
export async function openUpstream({
  seed,
  count,
}: {
  seed: number;
  count: number;
}): Promise<Upstream> {
  const mark = hashOf('sha256', Buffer.alloc(32, seed)).slice(-22);
  const nameOf = (at: number): string => `${at.toString().padStart(10, '0')}${mark}-path-${at}`;
  const path = (at: number): StorePath => parseBaseName(nameOf(at), defaultStoreDir);
  const narOf = (at: number): Buffer =>
    narOfFile(`path ${at} of seed ${seed}\n`.repeat(1 + (at % 50)));
  const narInfoOf = (at: number): string => {
    const nar = narOf(at);
    const narHash = sha256(nar);
    const references = [...new Set([at >> 1, Math.floor(at / 3)])]
      .filter(each => each !== at)
      .map(path);
    const info = { path: path(at), narHash, narSize: nar.length, references, signatures: [] };
    const file = {
      url: `nar/${at}.nar`,
      compression: 'none' as const,
      fileHash: narHash,
      fileSize: nar.length,
    };
    return printNarInfo(info, file);
  };
  const answer = (url: string): string | Buffer | undefined => {
    if (url === '/nix-cache-info')
      return `StoreDir: ${defaultStoreDir}\nWantMassQuery: 1\nPriority: 40\n`;
    const [, info] = /^\/(\d{10})[0-9a-z]{22}\.narinfo$/.exec(url) ?? [];
    if (
      info !== undefined &&
      url.startsWith(`/${nameOf(Number(info)).slice(0, 32)}.`) &&
      Number(info) < count
    )
      return narInfoOf(Number(info));
    const [, nar] = /^\/nar\/(\d+)\.nar$/.exec(url) ?? [];
    if (nar !== undefined && Number(nar) < count) return narOf(Number(nar));
    return undefined;
  };
  let asked = 0;
  const waiting = new Map<number, () => void>();
  const server = createServer((request, reply) => {
    asked += 1;
    waiting.get(asked)?.();
    const body = answer(request.url ?? '');
    if (body === undefined) reply.writeHead(404).end();
    else
      reply
        .writeHead(200, { 'content-length': Buffer.byteLength(body) })
        .end(request.method === 'HEAD' ? '' : body);
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    path,
    get asked() {
      return asked;
    },
    askedFor: requests => new Promise(resolve => waiting.set(requests, resolve)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise(done => server.close(done));
    },
  };
}
