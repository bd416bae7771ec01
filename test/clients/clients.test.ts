import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { gitCorpus, manyPaths, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();
const skipMounts = skip || (await whyNoReadOnlyMounts());

describe('kept directories', () => {
  const kept = new URL('./kept.ts', import.meta.url).href;
  const script = (body: string): string => `
    import { appendFileSync, writeFileSync } from 'node:fs';
    import { setTimeout } from 'node:timers/promises';
    import { kept } from ${JSON.stringify(kept)};
    console.log(await kept('thing', async dir => { ${body} }));`;
  const process_ = (tmp: string, body: string) =>
    promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', script(body)], {
      env: { ...process.env, TMPDIR: tmp },
    });

  test('are made once, whole, for all processes that ask at the same time', async () => {
    const tmp = scratch();
    const body = `appendFileSync('${tmp}/log', 'made\\n'); await setTimeout(200);
      writeFileSync(dir + '/file', 'whole');`;
    const ends = await Promise.all([1, 2, 3].map(() => process_(tmp, body)));
    const dirs = new Set(ends.map(end => end.stdout.trim()));
    assert.equal(dirs.size, 1);
    assert.equal(readFileSync(join(tmp, 'log'), 'utf8'), 'made\n');
    assert.equal(readFileSync(join([...dirs][0]!, 'file'), 'utf8'), 'whole');
  });

  test('are made by the next process when the one that made them was killed', async () => {
    const tmp = scratch();
    await assert.rejects(process_(tmp, `process.kill(process.pid, 'SIGKILL');`));
    const { stdout } = await process_(tmp, `writeFileSync(dir + '/file', 'whole');`);
    assert.deepEqual(readdirSync(stdout.trim()), ['file']);
    assert.deepEqual(readdirSync(join(stdout.trim(), '..')).sort(), ['thing', 'thing.lock']);
  });

  test('are not there when making them failed', async () => {
    const tmp = scratch();
    await assert.rejects(process_(tmp, `throw new Error('no');`), /no/);
    const [base] = readdirSync(tmp);
    assert.deepEqual(readdirSync(join(tmp, base!)), ['thing.lock']);
  });
});

describe('processes', () => {
  test('give their output byte for byte as latin-1, and their exit status', async () => {
    const script = 'cat; printf "\\377\\000" >&2; exit 3';
    const result = await execute(['sh', '-c', script], { input: Uint8Array.of(0, 0x80, 0xff) });
    assert.deepEqual(result, { code: 3, stdout: '\0\x80\xff', stderr: '\xff\0' });
  });

  test('that do not exist are absent', async () => {
    const error = { name: 'GranaryError', code: 'absent' };
    await assert.rejects(execute(['no-such-program-anywhere']), error);
  });

  test('do not fail by ending before their input does', async () => {
    const input = Buffer.alloc(1 << 22);
    assert.equal((await execute(['true'], { input })).code, 0);
  });
});

describe('real clients', () => {
  test('are three different versions, in order of age', { skip }, async t => {
    const versions: string[] = [];
    for (const age of ages) {
      const { version, suite } = await nix(age);
      t.diagnostic(`${age}: Nix ${version} (${suite})`);
      versions.push(version);
    }
    assert.equal(new Set(versions).size, 3);
    assert.deepEqual(
      versions,
      versions.toSorted(new Intl.Collator('en', { numeric: true }).compare),
    );
  });

  for (const age of ages) {
    test(`of the ${age} age add to, read and keep to a store of their own`, { skip }, async () => {
      const one = await nix(age);
      const file = join(scratch(), 'greeting');
      writeFileSync(file, 'hello\n');
      const [store, other] = [freshStore(), freshStore()];
      const path = (await one.check('nix-store', ['--add', file], { store })).trim();
      assert.match(path, /^\/nix\/store\/[0-9a-z]{32}-greeting$/);
      assert.equal(readFileSync(store.real(path), 'utf8'), 'hello\n');
      assert.equal((await one.run('nix-store', ['-q', '--hash', path], { store: other })).code, 1);
      assert.equal(existsSync(other.real(path)), false);
    });
  }

  test('that fail throw what they said', { skip }, async () => {
    const one = await nix('newest');
    const error = {
      code: 'unavailable',
      message: /nix-store -q \/nowhere\n.*is not in the Nix store/s,
    };
    await assert.rejects(one.check('nix-store', ['-q', '/nowhere']), error);
  });

  test('take lines for NIX_CONFIG', { skip }, async () => {
    for (const age of ages) {
      const shown = await (await nix(age)).check('nix', ['show-config', '--json'], {
        config: 'substituters = http://127.0.0.1:9/',
      });
      assert.deepEqual(JSON.parse(shown).substituters.value, ['http://127.0.0.1:9/']);
    }
  });

  test('build, sandboxed, in a store of their own', { skip: skipMounts }, async () => {
    const expression = `derivation {
      name = "built"; system = builtins.currentSystem; builder = "/bin/sh";
      args = [ "-c" "echo sandboxed > $out" ];
    }`;
    for (const age of ages) {
      const store = freshStore();
      const args = ['--no-out-link', '-E', expression];
      const config = 'sandbox = true';
      const path = (await (await nix(age)).check('nix-build', args, { store, config })).trim();
      assert.equal(readFileSync(store.real(path), 'utf8'), 'sandboxed\n');
    }
  });

  test('cannot write to a directory that is mounted read-only', { skip: skipMounts }, async () => {
    for (const age of ages) {
      const cache = join(scratch(), 'cache');
      mkdirSync(cache);
      const one = await nix(age);
      const store = freshStore();
      const expression = 'builtins.toFile "text" "text"';
      const args = ['--eval', '--read-write-mode', '-E', expression];
      const path = JSON.parse(await one.check('nix-instantiate', args, { store }));
      const copy = ['copy', '--to', `file://${cache}`, path];
      const { code, stderr } = await one.run('nix', copy, { store, readOnly: [cache] });
      assert.equal(code, 1);
      assert.match(stderr, /Read-only file system/);
      assert.deepEqual(readdirSync(cache), []);
    }
  });
});

describe('corpora', () => {
  test('of git is a valid closure of real files, as every Nix finds', { skip }, async () => {
    const git = await gitCorpus();
    assert.ok(git.paths.length > 40);
    assert.ok(git.paths.includes(git.root));
    for (const age of ages) {
      const one = await nix(age);
      await one.check('nix-store', ['--verify', '--check-contents'], { store: git });
      const closure = await one.check('nix-store', ['-qR', git.root], { store: git });
      assert.deepEqual(closure.trim().split('\n').sort(), git.paths);
    }
  });

  test('of git has the references that Nix itself finds in the bytes', { skip }, async () => {
    const git = await gitCorpus();
    const one = await nix('newest');
    for (const path of git.paths) {
      const stated = await one.check('nix-store', ['-q', '--references', path], { store: git });
      const bytes = await one.check('nix-store', ['--dump', git.real(path)], { store: git });
      const found = git.paths.filter(other => bytes.includes(other.slice(11, 43)));
      assert.deepEqual(stated.split('\n').filter(Boolean).sort(), found, path);
    }
  });

  test('of many paths is a root that refers to each', { skip }, async () => {
    const many = await manyPaths(100);
    assert.equal(many.paths.length, 101);
    const args = ['-q', '--references', many.root];
    const references = await (await nix('newest')).check('nix-store', args, { store: many });
    assert.equal(references.trim().split('\n').length, 100);
  });

  test('go through a cache of the newest Nix, read-only, into every Nix, and git runs', {
    skip: skipMounts,
  }, async () => {
    const git = await gitCorpus();
    const cache = `file://${scratch()}/cache?compression=zstd`;
    await (await nix('newest')).check('nix', ['copy', '--to', cache, git.root], { store: git });
    for (const age of ages) {
      const { store, real } = await installs(await nix(age), { cache, path: git.root });
      assert.ok(existsSync(join(real, 'usr/bin/git')));
      const run = await runInstalled(store, `${git.root}/usr/bin/git`, ['--version']);
      assert.match(run.stdout, /^git version \d/, run.stderr);
    }
  });
});
