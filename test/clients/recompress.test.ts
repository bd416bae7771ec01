/** `granary copy --recompress`, with real Nix on the other side: signatures hold, and what comes out runs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { contentOf } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { gitCorpus, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());

async function run(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
}

test('a signed cache of git that was packed anew, twice, installs with every Nix that asks for signatures', {
  skip,
}, async () => {
  const { url, root } = await gitCorpus();
  const folder = scratch();
  const [key, made, xz, again] = ['key', 'made', 'xz', 'again'].map(name => join(folder, name));
  await run('key', 'generate', 'test-1', '--out', key!);
  const make = ['make', '--from', url, '--no-flush', root];
  await run(...make, '--to', made!, '--sign', key!);
  await run('copy', '--no-flush', '--from', made!, '--to', xz!, '--recompress', 'xz:0');
  await run('copy', '--no-flush', '--from', xz!, '--to', again!, '--recompress', 'zstd');
  assert.deepEqual(contentOf(again!), contentOf(made!), 'there and back is as before');
  await run('verify', '--trusted-key', `${key}.pub`, xz!);
  const publicKey = readFileSync(`${key}.pub`, 'utf8').trim();
  await Promise.all(
    ages.map(async age => {
      const { store } = await installs(await nix(age), {
        cache: `file://${xz}`,
        path: root,
        options: ['--option', 'require-sigs', 'true', '--option', 'trusted-public-keys', publicKey],
      });
      const ran = await runInstalled(store, `${root}/usr/bin/git`, ['--version']);
      assert.match(ran.stdout, /^git version \d/, `${age}: ${ran.stderr}`);
    }),
  );
});
