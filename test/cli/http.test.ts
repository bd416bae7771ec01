/** Commands on caches behind a web server, as a person runs them. */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
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

const whole = healthy.cache;
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

test('repair heals the closures of ROOTs behind HTTP, and leaves all else', async () => {
  const dir = cacheWith('a flipped bit in a NAR file', 'a reference without a narinfo');
  const served = await serve(dir);
  const args = ['repair', '--from', whole, served.url, app];
  const planned = await granary([...args, '--dry-run']);
  assert.deepEqual([planned.code, /^To heal: /m.test(planned.stdout)], [1, true]);
  assert.ok(served.asked.every(({ method }) => method !== 'PUT'));
  const ran = await granary(args);
  assert.equal(ran.code, 0, ran.stdout);
  assert.equal((await granary(['verify', served.url, app])).code, 0);
  const again = await granary(args);
  assert.match(again.stdout, /is whole: nothing to do/);
  assert.equal((await granary(['verify', '--strict', dir])).code, 0);
  assert.deepEqual(contentOf(dir), contentOf(whole));
});

test('what would have to be removed behind HTTP is told, and stays', async () => {
  const dir = cacheWith();
  const [misplaced, text] = [
    join(dir, `${'9'.repeat(32)}.narinfo`),
    readFileSync(join(dir, narInfoKey(twin))),
  ];
  writeFileSync(misplaced, text);
  const served = await serve(dir);
  const ran = await granary(['repair', '--from', whole, served.url, app, '9'.repeat(32)]);
  assert.equal(ran.code, 5, ran.stderr);
  assert.match(ran.stdout, /^For you to mend: 9+\.narinfo is the narinfo of .*-twin/m);
  assert.deepEqual(readFileSync(misplaced), text);
});

const none = join(temporaryFolder(), 'none.txt');
writeFileSync(none, '# nothing yet\n');
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
    /Cannot repair all of http.*listed; name ROOTs/,
  ],
  ['repair --dry-run of it', 2, ['repair', '--dry-run', url], /cannot be listed; name ROOTs/],
  ['repair --drop of ROOTs', 2, ['repair', '--drop', url, app], /Cannot --drop from some closures/],
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
