/** A cache in a bucket: many write it at once, every command works on it, every Nix installs from it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { ended, startGranary } from '../granary.ts';
import { ceph, whyNoCeph } from '../storage/ceph.ts';
import { gitCorpus, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, installs, nix, whyNoClients } from './nix.ts';

const skip = (await whyNoClients()) || (await whyNoCeph());
const granary = async (...args: readonly string[]) =>
  ended(startGranary(args, [], (await ceph()).env));
/** In one request what is no bigger than that: this gateway loses the parts of what has a dot in its key. */
const whole = 100 << 20;
const named = async (bucket: string, prefix = ''): Promise<string> =>
  `s3://${bucket}${prefix}?endpoint=${(await ceph()).front.endpoint}&region=default&multipart-threshold=${whole}`;

test('four makes at once into one bucket, with closures that overlap: it is the cache of all, and every Nix installs from it', {
  skip,
}, async () => {
  const { front, client, bucket: newBucket } = await ceph();
  const bucket = await newBucket('public');
  const cache = await named(bucket);
  const git = await gitCorpus();
  const middle = git.paths.filter(path => /-(perl|libcurl3t64-gnutls|openssl|zlib1g)-/.test(path));
  const roots = [git.root, ...middle, git.root, git.root].slice(0, 4);
  const makes = await Promise.all(
    roots.map(root => granary('make', '--from', git.url, '--to', cache, '--listings', root)),
  );
  for (const { code, stderr } of makes) assert.equal(code, 0, stderr);

  const verified = await granary('verify', '--strict', cache);
  assert.equal(verified.code, 0, verified.stdout + verified.stderr);
  const again = await granary('make', '--from', git.url, '--to', cache, '--listings', git.root);
  assert.match(again.stdout, /nothing new/);

  const hash = git.root.slice(11, 43);
  const text = await textOf(bucket, `${hash}.narinfo`);
  const nar = /^URL: (.*)$/m.exec(text)![1]!;
  for (const [Key, type] of [
    ['nix-cache-info', 'text/x-nix-cache-info'],
    [`${hash}.narinfo`, 'text/x-nix-narinfo'],
    [`${hash}.ls`, 'application/json'],
    [nar, 'application/x-nix-nar'],
  ] as const)
    assert.equal(
      (await client.send(new HeadObjectCommand({ Bucket: bucket, Key }))).ContentType,
      type,
    );

  // Debian builds the newest without AWS's libraries: it asks unsigned, as the bucket's policy lets everybody.
  const { host } = new URL(front.endpoint);
  const asS3 = `s3://${bucket}?endpoint=${host}&scheme=http&region=default`;
  const overHttp = `${front.endpoint}/${bucket}`;
  const copy = join(scratch(), 'copy');
  const copied = await granary('copy', '--from', cache, '--to', copy, git.root);
  assert.equal(copied.code, 0, copied.stderr);
  const caches = ages.flatMap(age =>
    [overHttp, `file://${copy}`].map(from => [age, from] as const),
  );
  for (const [age, from] of [...caches, ['newest', asS3] as const]) {
    const { store } = await installs(await nix(age), { cache: from, path: git.root });
    const run = await runInstalled(store, `${git.root}/usr/bin/git`, ['--version']);
    assert.match(run.stdout, /^git version \d/, `${age} from ${from}: ${run.stderr}`);
  }
});

test('copy, sign, diff, repair and verify work on a bucket', { skip }, async () => {
  const { client, bucket: newBucket } = await ceph();
  const bucket = await newBucket();
  const cache = await named(bucket, '/team/cache');
  const git = await gitCorpus();
  const here = join(scratch(), 'here');
  const key = join(scratch(), 'secret.key');
  const ok = async (...args: readonly string[]) => {
    const ran = await granary(...args);
    assert.equal(ran.code, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
    return ran;
  };
  await ok('make', '--from', git.url, '--to', here, '--no-flush', git.root);
  const copied = await ok('copy', '--from', here, '--to', cache);
  assert.match(copied.stdout, new RegExp(`${git.paths.length} paths copied`));
  await ok('diff', here, cache);
  await ok('key', 'generate', 'bucket-1', '--out', key);
  assert.match(
    (await ok('sign', '--sign', key, cache)).stdout,
    new RegExp(`${git.paths.length} paths`),
  );
  await ok('verify', '--trusted-key', `${key}.pub`, cache);
  assert.equal((await granary('diff', here, cache)).code, 1, 'only there it is signed');

  const url = /^URL: (.*)$/m.exec(
    await textOf(bucket, `team/cache/${git.root.slice(11, 43)}.narinfo`),
  )![1];
  const object = { Bucket: bucket, Key: `team/cache/${url}` };
  const other = git.paths.find(path => path !== git.root)!;
  const lost = { Bucket: bucket, Key: `team/cache/${other.slice(11, 43)}.narinfo` };
  await client.send(new PutObjectCommand({ ...object, Body: 'damage' }));
  await client.send(new DeleteObjectCommand(lost));
  assert.equal((await granary('verify', cache)).code, 1);
  await ok('repair', '--from', here, cache);
  await ok('verify', '--strict', cache);

  const files = await ceph('files');
  const elsewhere = `s3://${await files.bucket()}?endpoint=${files.front.endpoint}&region=default&multipart-threshold=${whole}`;
  await ok('copy', '--from', cache, '--to', elsewhere, git.root);
  await ok('ls', elsewhere, `${git.root}/usr/bin`);
  const cat = await ok('cat', elsewhere, `${git.root}/nix-support/setup-hook`);
  assert.match(cat.stdout, /^export PATH=/);
});

test('a server that fails says nothing of the cache: no damage is found, and repair removes nothing', {
  skip,
}, async () => {
  const { front, bucket: newBucket } = await ceph();
  const bucket = await newBucket();
  const cache = await named(bucket);
  const { url, paths } = await gitCorpus();
  const small = paths.find(path => /-zlib1g-/.test(path))!;
  const made = await granary('make', '--from', url, '--to', cache, small);
  assert.equal(made.code, 0, made.stderr);
  for (const failing of [/narinfo/, /\/nar\//]) {
    front.fault = ({ method, url }) => (method === 'GET' && failing.test(url!) ? 503 : undefined);
    try {
      for (const args of [['verify'], ['repair', '--drop']]) {
        const ran = await granary(...args, cache);
        assert.equal(ran.code, 8, `${args[0]}: ${ran.stdout}${ran.stderr}`);
        assert.doesNotMatch(ran.stdout, /damage /);
      }
    } finally {
      front.fault = () => undefined;
    }
  }
  assert.match(await textOf(bucket, `${small.slice(11, 43)}.narinfo`), /^StorePath: /);
  assert.equal((await granary('verify', cache)).code, 0);
});

test('commands say what is wrong with a bucket in a sentence, by the table of exits', {
  skip,
}, async () => {
  const { front } = await ceph();
  const verify = async (url: string) => {
    const { code, stderr } = await granary('verify', url);
    return [code, stderr.trim().split('\n')[0]] as const;
  };
  const [code, said] = await verify(await named('no-such-bucket'));
  assert.equal(code, 3);
  assert.match(said!, /no such bucket; make it first, or name another/);
  for (const [url, message] of [
    ['s3://', /names no bucket/],
    ['s3://user:secret@bucket/x', /holds credentials/],
    ['s3://bucket?endpoint=https://user:secret@host', /endpoint= holds credentials/],
    ['s3://bucket/../x', /climbs/],
    ['s3://bucket?multipart-chunk-size=1', /number of bytes from/],
    ['s3://bucket?addressing-style=x', /one of auto, path, virtual/],
    [`s3://bucket?endpoint=${front.endpoint}&profile=nobody`, /profile/i],
  ] as const) {
    const [exit, sentence] = await verify(url);
    assert.equal(exit, 2, `${url}: ${sentence}`);
    assert.match(sentence!, message);
    assert.doesNotMatch(sentence!, /secret/);
  }
});

async function textOf(bucket: string, Key: string): Promise<string> {
  const { client } = await ceph();
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
  return Body!.transformToString();
}
