/** Commands on caches behind a web server, as a person runs them. */
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { extname, join } from 'node:path';
import { test } from 'node:test';
import { contentOf } from '../cache/proof.ts';
import { gallery, Patient } from '../flow/damage.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { granary } from '../granary.ts';
import { serve } from '../storage/http-server.ts';
import { temporaryFolder } from '../temporary.ts';

const healthy = await makeHealthy(temporaryFolder());
const { url } = await serve(healthy.cache);
const web = await serve(temporaryFolder(), (_, reply) => reply.end('<!doctype html><p>Hello'));
const closed = await serve(temporaryFolder(), (_, reply) => reply.writeHead(403).end());
const empty = await serve(temporaryFolder());

function cacheWith(...damages: readonly string[]): string {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  for (const damage of damages) gallery[damage]!.do(new Patient(healthy, dir));
  return dir;
}

test('repair takes from a cache behind HTTP', async () => {
  const dir = cacheWith('a flipped bit in a NAR file', 'no NAR file');
  const { code, stdout } = await granary(['repair', '--from', url, dir]);
  assert.equal(code, 0, stdout);
  assert.deepEqual(contentOf(dir), contentOf(healthy.cache));
});

test('make puts a cache behind HTTP, the NAR before its narinfo', async () => {
  const dir = temporaryFolder();
  const served = await serve(dir);
  const args = ['make', '--to', served.url, '--listings', '--add', `${healthy.cache}=thing`];
  const { code, stdout, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`--option substituters ${served.url}`));
  const puts = served.asked.filter(({ method }) => method === 'PUT').map(({ path }) => path);
  assert.deepEqual(puts.slice(-4).map(extname), ['', '.zst', '.ls', '.narinfo']);
  assert.equal((await granary(['verify', dir])).code, 0);
  assert.match((await granary(args)).stdout, /1 path, nothing new/);
});

test('verify --with asks a cache behind HTTP for what is referred to', async () => {
  const holed = cacheWith('a reference without a narinfo');
  assert.equal((await granary(['verify', '--quick', holed])).code, 1);
  assert.equal((await granary(['verify', '--quick', '--with', url, holed])).code, 0);
});

const whole = healthy.cache;
for (const [what, code, args, message] of [
  ['verify of what cannot be listed', 2, ['verify', url], /cannot be listed/],
  ['verify --record of it', 2, ['verify', '--record', url], /cannot be listed/],
  ['repair of it', 2, ['repair', '--from', whole, url], /Cannot repair http.*cannot be listed/],
  ['repair --dry-run of it', 2, ['repair', '--dry-run', url], /cannot be listed/],
  ['a URL with no cache', 3, ['verify', '--with', empty.url, whole], /there is no nix-cache-info/],
  ['a web page', 2, ['repair', '--from', web.url, whole], /is a web page/],
  ['a server that refuses', 2, ['verify', '--with', closed.url, whole], /403.*credentials/],
  ['no host', 2, ['verify', 'http://'], /is no URL/],
] as const)
  test(`${what}: ${code}`, async () => {
    const ran = await granary(args);
    assert.match(ran.stderr, message);
    assert.equal(ran.code, code);
  });
