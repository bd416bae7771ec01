/** Buckets of a real server obey the laws of a Storage; what the server refuses is told as a sentence. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import {
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { collect } from '../../src/bytes.ts';
import { s3Storage } from '../../src/storage/s3.ts';
import { type Body, bodyOf } from '../../src/storage/storage.ts';
import { execute } from '../clients/process.ts';
import { repository } from '../granary.ts';
import { ceph, whyNoCeph } from './ceph.ts';
import { storageLaws } from './conformance.ts';

const skip = await whyNoCeph();
if (!skip) Object.assign(process.env, (await ceph()).env);

const storageIn = async (bucket: string, prefix = '', more = '') =>
  s3Storage(
    `s3://${bucket}${prefix}?endpoint=${(await ceph()).front.endpoint}&region=default${more}`,
  );
const opened = async (prefix?: string) => storageIn(await (await ceph()).bucket(), prefix);
/** For what goes in parts, and comes in them. */
const files = async () => {
  const { front, bucket, client } = await ceph('files');
  const Bucket = await bucket();
  const url = `s3://${Bucket}?endpoint=${front.endpoint}&region=default`;
  return { front, client, Bucket, url, storage: s3Storage(url) };
};

if (!skip) {
  const inSqlite = "this gateway's SQLite gets it wrong; it is tried on its files";
  for (const prefix of ['', '/some/where'])
    storageLaws(`s3${prefix}`, () => opened(prefix), undefined, {
      'a span gives just these bytes, and less where the value ends': inSqlite,
      'readers never see half a value while it is replaced': inSqlite,
    });
  storageLaws('s3 of files', async () => (await files()).storage);
}

test('a big value goes in parts, and a source that fails leaves none behind', {
  skip,
}, async () => {
  const { client, Bucket, storage } = await files();
  const bytes = Buffer.alloc(20 << 20);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
  const chunked = (chunks: number): Body => ({
    size: bytes.length,
    open: async function* () {
      for (let at = 0; at < chunks; at++) yield bytes.subarray(at << 20, (at + 1) << 20);
      if (chunks < 20) throw new Error('The disk went away');
    },
  });
  await storage.put('nar/big', chunked(20));
  const found = await storage.get('nar/big');
  assert.equal(found?.size, bytes.length);
  assert.ok((await collect(found.bytes, bytes.length))?.equals(bytes));
  await assert.rejects(storage.put('nar/half', chunked(12)));
  assert.equal(await storage.head('nar/half'), undefined);
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  assert.deepEqual(Uploads, []);
});

test('a value of 400 MB goes in and comes out in little memory', { skip }, async () => {
  const { url } = await files();
  const script = `
    import { s3Storage } from './src/storage/s3.ts';
    const storage = s3Storage(process.argv[1]);
    const blocks = Array.from({ length: 7 }, (_, i) => Buffer.alloc(1 << 20, 'block ' + i));
    const block = i => blocks[i % 7];
    const open = function* () { for (let i = 0; i < 400; i++) yield block(i); };
    await storage.put('nar/big', { size: 400 << 20, open });
    let at = 0;
    for await (const chunk of (await storage.get('nar/big')).bytes)
      for (let from = 0; from < chunk.length; ) {
        const rest = block(at >> 20).subarray(at % (1 << 20));
        const part = chunk.subarray(from, from + rest.length);
        if (rest.compare(part, 0, part.length, 0, part.length)) throw new Error('other bytes at ' + at);
        from += part.length;
        at += part.length;
      }
    console.log(at, process.resourceUsage().maxRSS);`;
  const ran = await execute([process.execPath, '--input-type=module', '-e', script, url], {
    cwd: repository,
    env: process.env,
  });
  const [bytes, peakKiB] = ran.stdout.split(' ').map(Number);
  assert.equal(bytes, 400 << 20, ran.stderr);
  assert.ok(peakKiB! < 256 << 10, `a peak of ${peakKiB} KiB`);
});

test('what breaks off goes on where it was, if it is still the same', { skip }, async () => {
  const { front, storage } = await files();
  const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => at % 251));
  await storage.put('value', bodyOf(bytes));
  const ranges: (string | undefined)[] = [];
  front.fault = ({ method, headers }) => {
    if (method !== 'GET') return undefined;
    ranges.push(headers.range);
    return ranges.length < 4 ? { breakAfter: 700_001 } : undefined;
  };
  try {
    assert.ok((await collect((await storage.get('value'))!.bytes, bytes.length))?.equals(bytes));
    assert.deepEqual(
      ranges.map(range => range !== undefined),
      [false, true, true, true],
    );
    ranges.length = 0;
    const span = { start: 1_000_000, length: 1_500_000 };
    const part = await collect((await storage.get('value', span))!.bytes, bytes.length);
    assert.ok(part?.equals(bytes.subarray(1_000_000, 2_500_000)));

    ranges.length = 0;
    const { bytes: changing } = (await storage.get('value'))!;
    front.fault = () => undefined;
    await storage.put('value', bodyOf(Buffer.alloc(3_000_000, 'n')));
    await assert.rejects(collect(changing, bytes.length), { code: 'unavailable' });
  } finally {
    front.fault = () => undefined;
  }
});

test('what may pass is tried again, and told when it does not', { skip }, async () => {
  const { front, storage } = await files();
  let left = 2;
  front.fault = () => (left-- > 0 ? 503 : undefined);
  try {
    await storage.put('value', bodyOf('1'));
    left = 2;
    front.fault = () => (left-- > 0 ? 'reset' : undefined);
    assert.equal((await storage.head('value'))?.size, 1);
    left = 1;
    const big = Buffer.alloc(20 << 20, 'x');
    front.fault = ({ url }) => (/partNumber=2/.test(url!) && left-- > 0 ? 'reset' : undefined);
    await storage.put('big', bodyOf(big));
    assert.equal((await storage.head('big'))?.size, big.length);
    front.fault = () => 503;
    await assert.rejects(storage.get('value'), {
      code: 'unavailable',
      message: /run the same command again/,
    });
  } finally {
    front.fault = () => undefined;
  }
});

test('a listing of more than a page is whole', { skip }, async () => {
  const storage = await opened('/cache');
  const keys = Array.from({ length: 1100 }, (_, at) => `${String(at).padStart(4, '0')}.narinfo`);
  await storage.publish(keys.map(key => ({ key, body: bodyOf(key), after: [] })));
  const listed = await Array.fromAsync(storage.list!(''), ({ key }) => key);
  assert.deepEqual(listed.sort(), keys);
  assert.equal((await storage.top!()).length, 1100);
});

test('objects say what they are, and for how long they may be kept', { skip }, async () => {
  const bucket = await (await ceph()).bucket();
  const storage = await storageIn(bucket, '/x');
  for (const [key, type, cacheControl] of [
    ['nix-cache-info', 'text/x-nix-cache-info', 'public, max-age=300'],
    ['a.narinfo', 'text/x-nix-narinfo', 'public, max-age=300'],
    ['a.ls', 'application/json', 'public, max-age=300'],
    ['nar/a.nar.zst', 'application/x-nix-nar', 'public, max-age=31536000, immutable'],
    ['log/a.drv', 'text/plain; charset=utf-8', 'public, max-age=300'],
  ] as const) {
    await storage.put(key, bodyOf('x'));
    const Key = `x/${key}`;
    const head = await (await ceph()).client.send(new HeadObjectCommand({ Bucket: bucket, Key }));
    assert.deepEqual([head.ContentType, head.CacheControl], [type, cacheControl], key);
  }
});

test('a public bucket is read without credentials, and not written', { skip }, async () => {
  const bucket = await (await ceph()).bucket('public');
  await (await storageIn(bucket)).put('a', bodyOf('1'));
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = process.env;
  delete process.env.AWS_ACCESS_KEY_ID;
  delete process.env.AWS_SECRET_ACCESS_KEY;
  try {
    const storage = await storageIn(bucket);
    assert.equal(String(await collect((await storage.get('a'))!.bytes, 9)), '1');
    assert.equal(await storage.get('b'), undefined);
    await assert.rejects(storage.put('a', bodyOf('2')), {
      code: 'usage',
      message: /no credentials were found.*AWS_ACCESS_KEY_ID/,
    });
  } finally {
    Object.assign(process.env, { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY });
  }
});

test('what is wrong with a bucket or with who asks is one sentence', { skip }, async () => {
  const { front, bucket: newBucket } = await ceph();
  const bucket = await newBucket();
  await assert.rejects((await storageIn('no-such-bucket')).get('x'), {
    code: 'absent',
    message: `Cannot read "x" in the bucket "no-such-bucket" at ${new URL(front.endpoint).host}: there is no such bucket; make it first, or name another`,
  });
  await assert.rejects((await storageIn(bucket, '', '&profile=nobody')).get('x'), {
    code: 'usage',
    message: /profile/,
  });
  const { AWS_SECRET_ACCESS_KEY } = process.env;
  process.env.AWS_SECRET_ACCESS_KEY = 'hunter2-is-wrong';
  try {
    await assert.rejects((await storageIn(bucket)).get('x'), (error: Error) => {
      assert.equal((error as { code?: string }).code, 'usage');
      assert.match(error.message, /does not accept the credentials/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    });
  } finally {
    Object.assign(process.env, { AWS_SECRET_ACCESS_KEY });
  }
  const nobody = s3Storage('s3://bucket?endpoint=http://127.0.0.1:1&region=default');
  await assert.rejects(nobody.get('x'), { code: 'unavailable', message: /cannot be reached/ });
});

test('what Nix stores with a Content-Encoding comes out without it, whole or in part', {
  skip,
}, async () => {
  const { client, Bucket, storage } = await files();
  const text = Buffer.from('a line of a log\n'.repeat(10_000));
  for (const [ContentEncoding, Body] of [
    ['br', brotliCompressSync(text)],
    ['gzip', gzipSync(text)],
    ['zstd', zstdCompressSync(text)],
  ] as const) {
    const Key = `log/${ContentEncoding}.drv`;
    await client.send(new PutObjectCommand({ Bucket, Key, Body, ContentEncoding }));
    assert.equal((await storage.head(Key))?.size, text.length);
    const whole = await storage.get(Key);
    assert.ok((await collect(whole!.bytes, text.length))?.equals(text), ContentEncoding);
    const part = await storage.get(Key, { start: 100, length: 50 });
    assert.ok((await collect(part!.bytes, 50))?.equals(text.subarray(100, 150)), ContentEncoding);
  }
  const put = { Bucket, Key: 'x', Body: text, ContentEncoding: 'compress' };
  await client.send(new PutObjectCommand(put));
  const unknown = await storage.get('x');
  await assert.rejects(collect(unknown!.bytes, text.length), {
    code: 'malformed',
    message: /^Cannot read "x" in the bucket .*Content-Encoding compress, which cannot be undone/,
  });
});

test('what answers as no S3 does is told, and nothing counts as read, listed or put', async () => {
  const pages: Record<string, (reply: ServerResponse, asked: IncomingMessage) => void> = {
    'a web page': reply => reply.end('<html><body>Sign in</body></html>'),
    'a web page that is no XML': reply => reply.end('<html><br>Sign in'),
    'without a length': reply => {
      reply.write('some');
      reply.end('thing');
    },
    'another part than was asked for': reply =>
      reply.writeHead(206, { 'content-range': 'bytes 0-3/9', 'content-length': 4 }).end('some'),
  };
  let page = 'a web page';
  const server = createServer((asked, reply) => {
    asked.resume();
    asked.on('end', () => pages[page]!(reply, asked));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const credentials = { AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y' };
  Object.assign(process.env, credentials, { AWS_EC2_METADATA_DISABLED: 'true' });
  const storage = s3Storage(`s3://bucket?endpoint=http://127.0.0.1:${port}`);
  const told = { code: 'malformed', message: /what answers there is no S3: .*; check endpoint=$/ };
  const listed = async () => {
    for await (const _ of storage.list!(''));
  };
  await assert.rejects(storage.put('x', bodyOf('text')), told);
  await assert.rejects(listed(), told);
  page = 'a web page that is no XML';
  await assert.rejects(listed(), told);
  page = 'without a length';
  await assert.rejects(storage.get('x'), told);
  page = 'another part than was asked for';
  await assert.rejects(storage.get('x', { start: 5, length: 4 }), told);
  if (!skip) Object.assign(process.env, (await ceph()).env);
});
