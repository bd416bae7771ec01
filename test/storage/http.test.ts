import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { collect } from '../../src/bytes.ts';
import { readNarInfo } from '../../src/cache/cache.ts';
import type { GranaryError } from '../../src/errors.ts';
import { narrationsIn } from '../../src/flow/narration.ts';
import { readNarInfos } from '../../src/flow/read-cache.ts';
import { defaultStoreDir, parseStorePath } from '../../src/format/store-path.ts';
import { type HttpOptions, httpStorage } from '../../src/storage/http.ts';
import { openStorage } from '../../src/storage/open.ts';
import { usualRetry } from '../../src/storage/retry.ts';
import { bodyOf, type Found, type Storage } from '../../src/storage/storage.ts';
import { temporaryFolder } from '../temporary.ts';
import { storageLaws } from './conformance.ts';
import { type Handler, type Served, serve } from './http-server.ts';

/** Waits that are counted and not waited, and nobody's credentials. */
const quick: HttpOptions = {
  stallMs: 2000,
  env: { HOME: '/nowhere' },
  retry: {
    ...usualRetry,
    attempts: 4,
    clock: { now: Date.now, random: () => 0.5, sleep: async () => {} },
  },
};

const servers = new Map<Storage, Served>();

async function opened(handler?: Handler, options = quick): Promise<[Storage, Served]> {
  const served = await serve(temporaryFolder(), handler);
  const storage = httpStorage(served.url, options);
  servers.set(storage, served);
  return [storage, served];
}

async function read(found: Found | undefined): Promise<Buffer | undefined> {
  return found && (await collect(found.bytes, 1 << 26));
}

storageLaws(
  'http',
  async () => (await opened())[0],
  storage => servers.get(storage)!.behind,
);

/** Bytes of which no two parts are alike. */
const varied = (size: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: size / 4 }, (_, at) => at * 2654435761).buffer);

/** Answers the first `count` requests by `handler`, and the others as a server should. */
const atFirst =
  (count: number, handler: Handler): Handler =>
  (request, reply, rest) =>
    count-- > 0 ? handler(request, reply, rest) : rest.pass();

/** Gives so many bytes of what `pass` would answer, and breaks off. */
const breakAfter =
  (size: number, headers: Readonly<Record<string, string>> = {}): Handler =>
  async (request, reply, { pass }) => {
    const write = reply.write.bind(reply);
    reply.end = ((bytes?: Buffer) => {
      write(bytes!.subarray(0, size), () => request.socket.destroy());
      return reply;
    }) as typeof reply.end;
    const writeHead = reply.writeHead.bind(reply);
    reply.writeHead = ((status: number, own: Readonly<Record<string, string>>) =>
      writeHead(status, { ...own, ...headers })) as typeof reply.writeHead;
    await pass();
  };

test('a body that breaks off goes on from there, if it is still the same', async () => {
  const value = varied(1 << 20);
  const [storage, { behind, asked }] = await opened(atFirst(2, breakAfter(400_000)));
  await behind.put('nar/x', bodyOf(value));
  assert.ok((await read(await storage.get('nar/x')))?.equals(value));
  const ranges = asked.map(({ headers }) => headers.range);
  assert.equal(ranges.length, 3);
  assert.equal(ranges[0], undefined);
  assert.match(ranges[1]!, /^bytes=\d+-$/);
  assert.match(String(asked[2]!.headers['if-range']), /^"/);
});

test('a span that breaks off goes on within itself', async () => {
  const value = varied(2 << 20);
  const [storage, { behind }] = await opened(atFirst(2, breakAfter(300_000)));
  await behind.put('nar/x', bodyOf(value));
  const found = await storage.get('nar/x', { start: 1000, length: 1_500_000 });
  assert.equal(found?.size, 1_500_000);
  assert.ok((await read(found))?.equals(value.subarray(1000, 1_501_000)));
});

test('a server that ignores Range is read past what came already', async () => {
  const value = varied(1 << 20);
  const [storage, { behind }] = await opened(
    atFirst(2, (request, reply, rest) => {
      delete request.headers.range;
      return breakAfter(400_000)(request, reply, rest);
    }),
  );
  await behind.put('nar/x', bodyOf(value));
  assert.ok((await read(await storage.get('nar/x')))?.equals(value));
});

test('a value that is changed while it is read is an error, not a mixture', async () => {
  const [storage, { behind }] = await opened(atFirst(1, breakAfter(400_000)));
  await behind.put('nar/x', bodyOf(varied(1 << 20)));
  const found = await storage.get('nar/x');
  await behind.put('nar/x', bodyOf(Buffer.alloc(1 << 20)));
  await assert.rejects(read(found), { code: 'unavailable', message: /changed while it was read/ });
});

test('a small value that is changed while it is read begins anew', async () => {
  let fresh: () => Promise<void> = async () => {};
  const [storage, { behind }] = await opened(
    atFirst(1, async (request, reply, rest) => {
      await breakAfter(1000)(request, reply, rest);
      await fresh();
    }),
  );
  await behind.put('x', bodyOf(Buffer.alloc(2000, 'o')));
  fresh = () => behind.put('x', bodyOf('new'));
  assert.equal(String(await read(await storage.get('x'))), 'new');
});

test('without a version to name, a small value begins anew, and a big one is an error', async () => {
  const handler = atFirst(2, breakAfter(100_000, { etag: 'W/"weak"' }));
  const [storage, { behind, asked }] = await opened(handler);
  const small = varied(200_000);
  await behind.put('small', bodyOf(small));
  await behind.put('big', bodyOf(varied(1 << 20)));
  assert.ok((await read(await storage.get('small')))?.equals(small));
  assert.deepEqual(
    asked.map(({ headers }) => headers.range),
    [undefined, undefined, undefined],
  );
  const [other, served] = await opened(breakAfter(400_000, { etag: 'W/"weak"' }));
  await served.behind.put('big', bodyOf(varied(1 << 20)));
  await assert.rejects(read(await other.get('big')), {
    code: 'unavailable',
    message: /after \d+ bytes, and the server cannot go on from there; run the same command again$/,
  });
});

for (const [status, code, attempts] of [
  [400, 'usage', 1],
  [401, 'usage', 1],
  [403, 'usage', 1],
  [408, 'unavailable', 4],
  [418, 'usage', 1],
  [425, 'unavailable', 4],
  [429, 'unavailable', 4],
  [500, 'unavailable', 4],
  [501, 'unavailable', 1],
  [502, 'unavailable', 4],
  [503, 'unavailable', 4],
  [504, 'unavailable', 4],
] as const)
  test(`${status} is ${code} after ${attempts} attempts`, async () => {
    const [storage, { asked }] = await opened((_, reply) => reply.writeHead(status).end('no'));
    await assert.rejects(storage.get('x.narinfo'), (error: GranaryError) => {
      assert.equal(error.code, code);
      assert.match(error.message, new RegExp(`/cache/x.narinfo: .*${status}`));
      return true;
    });
    assert.equal(asked.length, attempts);
  });

for (const status of [404, 410])
  test(`${status} is absent`, async () => {
    const [storage] = await opened((_, reply) => reply.writeHead(status).end('no'));
    assert.equal(await storage.get('x'), undefined);
    assert.equal(await storage.head('x'), undefined);
  });

test('403 is absent for whom the server gave something before: a bucket that may not be listed says so', async () => {
  const [storage, { behind }] = await opened((question, reply, rest) =>
    question.url!.endsWith('/there') ? rest.pass() : reply.writeHead(403).end('AccessDenied'),
  );
  await behind.put('there', bodyOf('1'));
  await assert.rejects(storage.get('x'), { code: 'usage' });
  assert.equal(String(await read(await storage.get('there'))), '1');
  assert.equal(await storage.get('x'), undefined);
  assert.equal(await storage.head('x'), undefined);
  await assert.rejects(storage.put('x', bodyOf('2')), { code: 'usage' });
});

test('the sentence for a refused access names where credentials can be given', async () => {
  const [storage] = await opened((_, reply) => reply.writeHead(401).end());
  await assert.rejects(storage.head('x'), { message: /netrc.*GRANARY_HTTP_TOKEN/ });
});

test('a server that asks to wait is waited for', async () => {
  const slept: number[] = [];
  const clock = { ...usualRetry.clock, sleep: async (ms: number) => void slept.push(ms) };
  const [storage, { behind }] = await opened(
    atFirst(1, (_, reply) => reply.writeHead(429, { 'retry-after': '17' }).end()),
    { ...quick, retry: { ...usualRetry, clock } },
  );
  await behind.put('x', bodyOf('1'));
  assert.equal(String(await read(await storage.get('x'))), '1');
  assert.deepEqual(slept, [17_000]);
});

test('nobody listening is unavailable, in a sentence', async () => {
  const storage = httpStorage('http://127.0.0.1:9/cache', quick);
  await assert.rejects(storage.get('x'), {
    code: 'unavailable',
    message: 'Cannot read http://127.0.0.1:9/cache/x: nothing listens there; tried 4 times',
  });
});

test('redirects are followed, to another path and another server', async () => {
  const elsewhere = await serve(temporaryFolder());
  await elsewhere.behind.put('y', bodyOf('there'));
  const [storage] = await opened((request, reply, { pass }) => {
    if (request.url === '/cache/x') reply.writeHead(301, { location: 'sub/x' }).end();
    else if (request.url === '/cache/sub/x')
      reply.writeHead(307, { location: `${elsewhere.url}/y` }).end('moved');
    else void pass();
  });
  assert.equal(String(await read(await storage.get('x'))), 'there');
  assert.equal((await storage.head('x'))?.size, 5);
});

test('a circle of redirects and an endless chain are malformed, at once, for reads and puts', async () => {
  const [storage, { asked }] = await opened((request, reply) => {
    const location = request.url === '/cache/circle' ? '/cache/circle' : `${request.url}x`;
    reply.writeHead(307, { location }).end();
  });
  const advice = 'name the URL where the cache lies, or mend the server$';
  const circle = { code: 'malformed', message: new RegExp(`in a circle; ${advice}`) };
  await assert.rejects(storage.get('circle'), circle);
  assert.equal(asked.length, 1);
  await assert.rejects(storage.head('circle'), circle);
  await assert.rejects(storage.put('circle', bodyOf('x')), circle);
  assert.equal(asked.length, 3);
  const chain = { code: 'malformed', message: new RegExp(`more than 10 redirects; ${advice}`) };
  await assert.rejects(storage.get('chain'), chain);
  assert.equal(asked.length, 3 + 11);
});

test('credentials go to the server that was named, and to no other', async () => {
  const elsewhere = await serve(temporaryFolder());
  await elsewhere.behind.put('x', bodyOf('1'));
  const options = {
    ...quick,
    env: { ...quick.env, GRANARY_HTTP_TOKEN: 'x.example=other 127.0.0.1=secret-token=' },
  };
  const [storage, { asked }] = await opened(
    (_, reply) =>
      reply.writeHead(302, { location: `${elsewhere.url.replace('//', '//u:p@')}/x` }).end(),
    options,
  );
  assert.equal(String(await read(await storage.get('x'))), '1');
  assert.equal(asked[0]!.headers.authorization, 'Bearer secret-token=');
  assert.equal(elsewhere.asked[0]!.headers.authorization, undefined);
  await storage.follow!(`${elsewhere.url}/x`);
  assert.equal(elsewhere.asked[1]!.headers.authorization, undefined);
});

test('who we are is told by the URL, netrc, a token, and the default of netrc, in this order', async () => {
  const folder = temporaryFolder();
  const netrc = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const own = netrc('own', 'machine 127.0.0.1 login me password "a b"\ndefault login d password d');
  const other = netrc(
    'other',
    '# x\nmachine elsewhere login e password e default login d password d',
  );
  netrc('.netrc', 'machine 127.0.0.1\n  login home\n  password p\n');
  const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
  const token = { GRANARY_HTTP_TOKEN: '127.0.0.1=token' };
  const foreign = { GRANARY_HTTP_TOKEN: '127.0.0.2=token', HOME: '/nowhere' };
  for (const [expected, user, query, env] of [
    [basic('u@x:p:w'), 'u%40x:p%3Aw@', `?netrc-file=${own}`, token],
    [basic('me:a b'), '', `?netrc-file=${own}`, token],
    [basic('me:a b'), '', '', { NETRC: own }],
    [basic('home:p'), '', '', { HOME: folder }],
    ['Bearer token', '', `?netrc-file=${other}`, token],
    [undefined, '', '', foreign],
    [basic('d:d'), '', '', { NETRC: other }],
    [undefined, '', '?trusted=1', { HOME: '/nowhere' }],
  ] as const) {
    const served = await serve(temporaryFolder());
    const name = `${served.url.replace('//', `//${user}`)}/${query}`;
    const storage = httpStorage(name, { ...quick, env });
    await storage.head('x');
    assert.equal(served.asked[0]!.headers.authorization, expected);
    assert.equal(storage.url, served.url);
  }
});

test('a netrc file that was named and is not there is told, a token without its host too', () => {
  const none = 'http://x.invalid/?netrc-file=/no/where';
  assert.throws(() => httpStorage(none), { message: /netrc file \/no\/where/ });
  const env = { HOME: '/nowhere', GRANARY_HTTP_TOKEN: 'secret' };
  assert.throws(
    () => httpStorage('http://x.invalid/', { env }),
    (error: GranaryError) => error.code === 'usage' && !error.message.includes('secret'),
  );
});

test('no message and no fact tells credentials', async () => {
  const env = { HOME: '/nowhere', GRANARY_HTTP_TOKEN: '127.0.0.1=hunter2-token' };
  const served = await serve(temporaryFolder(), (_, reply) => reply.writeHead(401).end());
  const name = `${served.url.replace('//', '//user:hunter2@')}?netrc-file=`;
  for (const storage of [httpStorage(name, quick), httpStorage(served.url, { ...quick, env })])
    for (const act of [
      () => storage.head('x'),
      () => storage.get('x'),
      () => storage.put('x', bodyOf('1')),
    ])
      await assert.rejects(act, (error: GranaryError) => {
        assert.doesNotMatch(`${error.message}${JSON.stringify(error.facts)}`, /hunter2/);
        return true;
      });
});

const path = parseStorePath(`${defaultStoreDir}/${'1'.repeat(32)}-x`, defaultStoreDir);

const pages = {
  'a doctype': '<!DOCTYPE html>\n<html><title>Sign in: the network</title></html>\n',
  'a comment': '\n <!-- page: 1 -->\n<p>Hello',
  'a byte order mark': '\xef\xbb\xbf<html>',
};
for (const [what, page] of Object.entries(pages))
  test(`a web page in the place of a narinfo, that begins with ${what}, is told as one, and its URL`, async () => {
    const [storage, { url }] = await opened((_, reply) =>
      reply.writeHead(200).end(Buffer.from(page, 'latin1')),
    );
    const told = {
      code: 'malformed',
      message: `Cannot read ${url}/${'1'.repeat(32)}.narinfo: it is a web page and no narinfo; check the URL that it comes from, whose server has to answer 404 for what it does not have`,
    };
    await assert.rejects(readNarInfo(storage, path, defaultStoreDir), told);
    await assert.rejects(readNarInfos(storage, defaultStoreDir, { roots: [path] }), told);
    const expected = { storeDir: defaultStoreDir, keys: [], sigsNeeded: 0 };
    const [read] = await narrationsIn(storage, [`${'1'.repeat(32)}.narinfo`], expected);
    const [{ id, message } = assert.fail()] = read!.findings;
    assert.deepEqual([id, message], ['narinfo-malformed', told.message.replace(`${url}/`, '')]);
  });

const text = Buffer.from('text '.repeat(200_000));
for (const [encoding, packed, isRead] of [
  ['gzip', gzipSync(text), true],
  ['x-gzip', gzipSync(text), true],
  ['br', brotliCompressSync(text), true],
  ['identity', text, true],
  ['zstd', zstdCompressSync(text), true],
  ['compress', text, false],
  ['gzip', gzipSync(text).subarray(0, -9), false],
  ['gzip', text, false],
] as const)
  test(`Content-Encoding ${encoding} is ${isRead ? 'undone' : 'refused'} (${packed.length} bytes)`, async () => {
    const [storage, { asked }] = await opened((_, reply) =>
      reply
        .writeHead(200, { 'content-encoding': encoding, 'content-length': packed.length })
        .end(packed),
    );
    const got = async () => read(await storage.get('x.narinfo'));
    if (!isRead) {
      await assert.rejects(got, { code: 'unavailable', message: /Content-Encoding/ });
      return;
    }
    assert.ok((await got())?.equals(text));
    assert.equal(asked[0]!.headers['accept-encoding'], 'identity');
    assert.equal((await storage.head('x'))?.size, text.length);
    const span = await storage.get('x', { start: 3, length: 6 });
    assert.equal(String(await read(span)), 't text');
  });

test('a server that tells no sizes is read all the same', async () => {
  const value = varied(1 << 20);
  const [storage] = await opened((request, reply) => {
    if (request.method === 'HEAD') reply.writeHead(405).end();
    else {
      reply.write(value.subarray(0, 1000));
      reply.end(value.subarray(1000));
    }
  });
  const found = await storage.get('x');
  assert.equal(found?.size, undefined);
  assert.ok((await read(found))?.equals(value));
  assert.equal((await storage.head('x'))?.size, value.length);
  const span = await storage.get('x', { start: 10, length: 20 });
  assert.ok((await read(span))?.equals(value.subarray(10, 30)));
});

test('a body that only the end of the connection ends is refused', async () => {
  const [storage] = await opened(request => {
    request.socket.end('HTTP/1.1 200 OK\r\n\r\nStorePath: half\n');
  });
  await assert.rejects(storage.get('x'), {
    code: 'unavailable',
    message: /does not say where it ends/,
  });
});

test('a connection on which nothing moves is given up', async () => {
  const handler: Handler = (request, reply) => {
    if (request.method !== 'PUT') reply.writeHead(200).write('half');
  };
  const [storage] = await opened(handler, { ...quick, stallMs: 50 });
  const stalled = { code: 'unavailable', message: /nothing moved for 0.05 s/ };
  await assert.rejects(storage.get('x'), stalled);
  await assert.rejects(storage.put('x', bodyOf('1')), stalled);
});

test('a slow reader is no stall', async () => {
  const value = varied(4 << 20);
  const [storage, { behind, asked }] = await opened(undefined, { ...quick, stallMs: 50 });
  await behind.put('x', bodyOf(value));
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await storage.get('x'))!.bytes) {
    if (chunks.length < 3) await new Promise(done => setTimeout(done, 80));
    chunks.push(chunk);
  }
  assert.ok(Buffer.concat(chunks).equals(value));
  assert.equal(asked.length, 1);
});

test('there are no more connections at once than allowed, and who leaves early makes room', async () => {
  let [now, most] = [0, 0];
  const [storage, { behind }] = await opened(
    async (_, __, { pass }) => {
      now += 1;
      most = Math.max(most, now);
      await new Promise(done => setTimeout(done, 5));
      await pass();
      now -= 1;
    },
    { ...quick, connections: 3 },
  );
  await behind.put('x', bodyOf(varied(1 << 20)));
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for await (const _ of (await storage.get('x'))!.bytes) break;
    }),
  );
  assert.equal(most, 3);
});

test('keys are percent-encoded, each part by itself', async () => {
  const [storage, { behind, asked }] = await opened();
  const key = 'nar/a b+c?d#e%2f&é.nar';
  await storage.put(key, bodyOf('odd'));
  assert.equal(asked[0]!.path, '/cache/nar/a%20b%2Bc%3Fd%23e%252f%26%C3%A9.nar');
  assert.deepEqual(await Array.fromAsync(behind.list!(''), entry => entry.key), [key]);
  assert.equal(String(await read(await storage.get(key))), 'odd');
});

test('a put is tried again with its body from the beginning', async () => {
  const [storage, { behind, asked }] = await opened(
    atFirst(2, async (request, reply) => {
      if (asked.length === 1) request.socket.resetAndDestroy();
      else {
        for await (const _ of request);
        reply.writeHead(503).end();
      }
    }),
  );
  for (const size of [1000, 1 << 20]) {
    const value = varied(size);
    await storage.put('x', bodyOf(value));
    assert.ok((await read(await behind.get('x')))?.equals(value));
  }
  assert.equal(asked.length, 4);
});

test('a server that takes no PUT is told, also when it does not hear us out', async () => {
  const [storage] = await opened((_, reply) => reply.writeHead(405).end());
  for (const size of [10, 8 << 20])
    await assert.rejects(storage.put('x', bodyOf(Buffer.alloc(size))), {
      code: 'usage',
      message: /Cannot write .*405/,
    });
});

test('the URL of a narinfo means what it means to a browser', async () => {
  const elsewhere = await serve(temporaryFolder());
  await elsewhere.behind.put('far', bodyOf('far'));
  const [storage, { behind, asked }] = await opened();
  await behind.put('nar/a b', bodyOf('near'));
  const follow = async (url: string) => String(await read(await storage.follow!(url)));
  assert.equal(await follow('nar/a%20b?hash=1'), 'near');
  assert.equal(asked[0]!.path, '/cache/nar/a%20b?hash=1');
  assert.equal(await follow('../cache/nar/a%20b'), 'near');
  assert.equal(await follow(`${elsewhere.url}/far`), 'far');
  for (const url of ['file:///etc/passwd', 'nar/a b', 'http://', 'data:,x'])
    await assert.rejects(storage.follow!(url), { code: 'malformed' });
});

test('openStorage takes http:// and https:// URLs', () => {
  assert.equal(openStorage('HTTP://Cache.Example:80/x/?priority=10').url, 'http://cache.example/x');
  assert.equal(openStorage('https://cache.example').url, 'https://cache.example');
  for (const name of ['http://', 'https:cache.example', 'http://a b/'])
    assert.throws(() => openStorage(name), { code: 'usage' });
});
