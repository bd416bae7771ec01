/** Commands on caches behind a web server, as a person runs them. */
import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { test } from 'node:test';
import { generateKey } from '../../src/format/key.ts';
import { narInfoKey } from '../../src/format/narinfo.ts';
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

const { app, lib, twin, plain } = healthy.paths;
const roots = join(temporaryFolder(), 'roots.txt');
writeFileSync(roots, `# all\n${app}\n${twin}\n${plain}\n`);

test('verify proves the closures of ROOTs behind HTTP, and says that it saw no more', async () => {
  const fine = await granary(['verify', url, lib, '--trusted-key', healthy.key.publicKey.text]);
  assert.equal(fine.code, 0, fine.stdout);
  assert.match(
    fine.stdout,
    /: 2 paths, .* nothing wrong; only the closures of the ROOTs, not what/,
  );
  const all = await granary(['verify', '--json', url, '--roots', roots]);
  const { narInfos, roots: named } = JSON.parse(all.stdout.trim().split('\n').at(-1)!);
  assert.deepEqual([all.code, narInfos, named], [0, 5, 3]);
  const dir = cacheWith('a flipped bit in a NAR file', 'something else');
  const { url: damaged } = await serve(dir);
  const found = await granary(['verify', damaged, '--roots', roots]);
  assert.equal(found.code, 1);
  assert.match(found.stdout, /^damage file-hash-wrong: /m);
  assert.doesNotMatch(found.stdout, /stranger/);
});

test('sign signs the closures of ROOTs behind HTTP, and nothing that is damaged', async () => {
  const secret = join(temporaryFolder(), 'key');
  writeFileSync(secret, generateKey('web-1').secret);
  const [dir, untouched] = [cacheWith(), contentOf(healthy.cache)];
  const served = await serve(dir);
  const ran = await granary(['sign', '--sign', secret, served.url, lib]);
  assert.equal(ran.code, 0, ran.stderr);
  assert.match(ran.stdout, /2 paths changed, 0 already so/);
  const changed = Object.entries(contentOf(dir)).filter(([key, sum]) => untouched[key] !== sum);
  const { base } = healthy.paths;
  assert.deepEqual(changed.map(([key]) => key).sort(), [base, lib].map(narInfoKey).sort());
  const puts = served.asked.filter(({ method }) => method === 'PUT');
  assert.equal(puts.length, 2);

  const bad = await serve(cacheWith('a flipped bit in a NAR file'));
  const refused = await granary(['sign', '--sign', secret, bad.url, '--roots', roots]);
  assert.equal(refused.code, 5);
  assert.match(refused.stdout, /^Not signed: /m);
  const fixed = await serve(dir, (request, reply, { pass }) =>
    request.method === 'PUT' ? reply.writeHead(405).end() : pass(),
  );
  const unput = await granary(['sign', '--sign', secret, fixed.url, app]);
  assert.deepEqual([unput.code, /405.*it may take no PUT/.test(unput.stderr)], [2, true]);
});

const none = join(temporaryFolder(), 'none.txt');
writeFileSync(none, '# nothing yet\n');
const whole = healthy.cache;
for (const [what, code, args, message] of [
  ['verify of what cannot be listed', 2, ['verify', url], /cannot be listed; name ROOTs/],
  ['sign of it', 2, ['sign', '--drop', 'x', url], /cannot be listed; name ROOTs/],
  ['verify --record of it', 2, ['verify', '--record', url], /cannot be listed; name the folder/],
  ['a list without a ROOT', 2, ['verify', url, '--roots', none], /Cannot find a ROOT in .*none/],
  ['a ROOT that is not there', 3, ['verify', url, '9'.repeat(32)], /Cannot find 9+ in the cache/],
  ['sign of one', 3, ['sign', '--drop', 'x', url, '9'.repeat(32)], /Cannot find 9+ in the cache/],
  [
    'repair of it',
    2,
    ['repair', '--from', whole, url],
    /Cannot repair all of http.*listed; name the folder/,
  ],
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
