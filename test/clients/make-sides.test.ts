/** Realisations and build logs of a local store, made by each Nix and read by each from our cache. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { granary } from '../granary.ts';
import { scratch } from './kept.ts';
import { ages, type ClientStore, freshStore, nix, whyNoClients } from './nix.ts';

const skip = await whyNoClients();
const config = 'sandbox = true\nextra-experimental-features = ca-derivations';

/** Two derivations that are addressed by content, one in need of the other. */
function expression(): string {
  const file = join(scratch(), 'ca.nix');
  const text = `
    let
      mk = name: script: derivation {
        inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
        outputs = [ "out" "dev" ];
        __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256";
      };
      low = mk "low" "echo low is built; echo low > $out; echo > $dev";
    in mk "top" "echo top is built; echo \${low} > $out; echo dev > $dev"`;
  writeFileSync(file, text);
  return file;
}

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const realisationsIn = (cache: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(join(cache, 'realisations'))
      .filter(name => name !== 'KEEP')
      .sort()
      .map(name => [name, readFileSync(join(cache, 'realisations', name), 'utf8')]),
  );

for (const age of ages)
  test(`what the ${age} Nix realised and logged, every Nix reads from a cache of it`, {
    skip,
  }, async () => {
    const client = await nix(age);
    const store = freshStore();
    const file = expression();
    const built = await client.check('nix-build', [file, '-A', 'all', '--no-out-link'], {
      store,
      config,
    });
    const [top, dev] = built.trim().split('\n') as [string, string];
    const deriver = (await client.check('nix-store', ['-q', '--deriver', top], { store })).trim();
    const [cache, key] = [join(scratch(), 'cache'), join(scratch(), 'key')];
    const publicKey = `${key}.pub`;
    await run('key', 'generate', 'test-1', '--out', key);
    const make = ['make', '--from', store.url, '--to', cache, '--no-flush'];
    assert.match(await run(...make, top, dev), /^With it came 5 realisations\.$/m);

    const theirs = join(scratch(), 'theirs');
    await client.check('nix', ['copy', '--to', `file://${theirs}`, '-f', file], { store, config });
    const ours = realisationsIn(cache);
    const expected = Object.entries(realisationsIn(theirs));
    assert.ok(expected.length >= 2);
    for (const [name, text] of expected) {
      // Nix 2.34 knows of no dependent realisations, and writes none
      const mine = JSON.parse(ours[name]!);
      if (age === 'newest') mine.dependentRealisations = {};
      assert.equal(JSON.stringify(mine), text, name);
    }
    assert.doesNotMatch(await run(...make, top, dev), /realisation/, 'nothing new');
    assert.deepEqual(realisationsIn(cache), ours);

    const signed = join(scratch(), 'signed');
    const logged = await run(
      ...['make', '--from', store.url, '--to', signed, '--no-flush', '--sign', key, '--logs'],
      ...[top, dev],
    );
    assert.match(logged, /^With it came 5 realisations and 2 build logs\.$/m);
    assert.equal(readFileSync(join(signed, 'log', deriver.slice(11)), 'utf8'), 'top is built\n');
    await Promise.all(
      ages.map(reader =>
        substitutes(reader, signed, readFileSync(publicKey, 'utf8').trim(), file, top),
      ),
    );
    for (const reader of ages) {
      const args = ['log', '--store', `file://${signed}`, top];
      const log = await (await nix(reader)).check('nix', args, { store: freshStore() });
      assert.match(log, /^top is built$/m, reader);
    }
    await run('verify', '--trusted-key', publicKey, signed);

    // A second run with a log that is damaged, and one that is gone.
    const logs = join(store.dir, 'nix/var/log/nix/drvs');
    const damaged = join(logs, deriver.slice(11, 13), `${deriver.slice(13)}.bz2`);
    assert.ok(existsSync(damaged));
    rmSync(damaged);
    writeFileSync(damaged, 'BZh9 no log');
    rmSync(join(signed, 'log', deriver.slice(11)));
    const again = await granary([
      ...['make', '--from', store.url, '--to', signed, '--no-flush', '--logs', top],
    ]);
    assert.equal(again.code, 5, again.stderr);
    assert.match(again.stderr, /^granary: Cannot read the build log .*top\.drv\.bz2: /m);
    assert.ok(!existsSync(join(signed, 'log', deriver.slice(11))));
  });

/** A store that has nothing gets the output of the derivation, whose path only a realisation tells, without a build. */
async function substitutes(
  age: (typeof ages)[number],
  cache: string,
  publicKey: string,
  file: string,
  expected: string,
): Promise<void> {
  const client = await nix(age);
  const store: ClientStore = freshStore();
  const options = { 'trusted-public-keys': publicKey, substituters: `file://${cache}` };
  const lines = Object.entries(options).map(([name, value]) => `${name} = ${value}`);
  const args = ['--no-out-link', '--max-jobs', '0', file];
  const built = await client.check('nix-build', args, {
    store,
    config: [config, 'require-sigs = true', ...lines].join('\n'),
  });
  assert.equal(built.trim().split('\n')[0], expected, age);
  assert.match(readFileSync(store.real(expected), 'utf8'), /-low$/m);
}

test('logs are of a local store', async () => {
  const cache = join(scratch(), 'cache');
  const { code, stderr } = await granary([
    ...['make', '--to', cache, '--logs', '--add', import.meta.filename],
  ]);
  assert.equal(code, 2);
  assert.match(stderr, /--logs without a local store/);
});
