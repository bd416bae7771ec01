/** The package as it would be published: packed, installed in another folder, run. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { version } from '../src/version.ts';
import { proofOf } from './cache/proof.ts';
import { execute } from './clients/process.ts';
import { repository } from './granary.ts';
import { temporaryFolder } from './temporary.ts';

test('version.ts says what package.json says', () => {
  const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  assert.equal(version, manifest.version);
});

test('the packed package installs elsewhere, runs as a command and imports as a library', async () => {
  const folder = temporaryFolder();
  const run = async (argv: readonly string[], cwd = folder): Promise<string> => {
    const { code, stdout, stderr } = await execute(argv, { cwd });
    assert.equal(code, 0, `${argv.join(' ')}\n${stdout}\n${stderr}`);
    return stdout;
  };
  await run(['npm', 'pack', '--pack-destination', folder], repository);
  const [tarball] = readdirSync(folder).filter(name => name.endsWith('.tgz'));
  const listed = (await run(['tar', '-tf', join(folder, tarball!)])).split('\n');
  assert.ok(
    !listed.some(name => /^package\/(src|test|node_modules)\//.test(name)),
    'only what is needed',
  );
  await run(['npm', 'init', '-y']);
  const patient = ['--fetch-timeout=30000', '--fetch-retries=5']; // npm's own waits five minutes for one answer
  const silent = ['--no-audit', '--no-fund'];
  await run(['npm', 'install', '--prefer-offline', ...patient, ...silent, `./${tarball}`]);

  const granary = join(folder, 'node_modules/.bin/granary');
  assert.equal((await run([granary, '--version'])).trim(), `granary ${version}`);
  for (const compression of ['zstd', 'xz']) {
    const cache = join(folder, compression);
    const tree = `${join(repository, 'docs')}=docs`;
    await run([granary, 'make', '--to', cache, '--add', tree, '--compression', compression]);
    assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 1 });
  }
  const script = `import { parseHash } from 'granary'; console.log(parseHash('md5:' + '0'.repeat(32)))`;
  const printed = await run([process.execPath, '--input-type=module', '-e', script]);
  assert.equal(printed.trim(), `md5:${'0'.repeat(26)}`);
});
