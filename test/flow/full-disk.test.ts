/** A disk that fills up while a cache is made. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { proofOf, temporariesIn } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { whyNoClients, whyNoReadOnlyMounts } from '../clients/nix.ts';
import { execute } from '../clients/process.ts';
import { granary, program } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());

for (const compression of ['none', 'zstd'])
  test(`a full disk ends make (${compression}) with one sentence, and nothing half-visible`, {
    skip,
  }, async () => {
    const { url, root } = await gitCorpus();
    const folder = temporaryFolder();
    const [disk, copy] = [join(folder, 'disk'), join(folder, 'copy')];
    mkdirSync(disk);
    // The disk is gone with the mount namespace, so what is on it has to be copied out of it.
    const script = `mount -t tmpfs -o size=$1 granary ${disk} || exit 99; shift
      "$@"; status=$?; cp -a ${disk} ${copy}; exit $status`;
    const size = compression === 'none' ? '64m' : '24m';
    const make = ['make', '--to', join(disk, 'cache'), '--from', url, '--compression', compression];
    const argv = ['unshare', '-Urm', 'sh', '-c', script, 'sh', size, process.execPath, program];
    const { code, stderr } = await execute([...argv, ...make, root]);
    assert.equal(code, 8, stderr);
    const lines = stderr
      .trim()
      .split('\n')
      .filter(line => !line.includes('may not be big enough'));
    assert.equal(lines.length, 1, stderr);
    assert.match(
      lines[0] ?? '',
      /^granary: Cannot write .*: the disk is full; free some space and run the same command again\.$/,
    );
    const cache = join(copy, 'cache');
    assert.deepEqual((await proofOf(cache)).faults, []);
    assert.deepEqual(temporariesIn(cache), []);

    const again = await granary([
      'make',
      '--to',
      cache,
      '--from',
      url,
      '--compression',
      compression,
      root,
    ]);
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 47 });
  });
