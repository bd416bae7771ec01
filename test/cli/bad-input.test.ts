/** What a person types wrong, and what is wrong where they point: one sentence, the right exit status, nothing written. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isTemporaryKey } from '../../src/storage/storage.ts';
import { contentOf, proofOf, temporariesIn } from '../cache/proof.ts';
import { client, scratch } from '../clients/kept.ts';
import { execute } from '../clients/process.ts';
import { copyForClients, ended, granary, program, repository, startGranary } from '../granary.ts';
import { makeDatabase } from '../store/made-database.ts';
import { temporaryFolder } from '../temporary.ts';

const docs = `${join(repository, 'docs')}=docs`;
const someHash = '0123456789abcdfghijklmnpqrsvwxyz';
const narHash = `sha256:${'0'.repeat(52)}`;
const foo = `/nix/store/${someHash}-foo`;

/** A file with a references graph in it. */
function graphFile(content: unknown): string {
  const file = join(temporaryFolder(), 'graph.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

/** A folder with something in it. */
function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** The root of a store with no path in it. */
function storeRoot(): string {
  const root = temporaryFolder();
  makeDatabase(join(root, 'nix/var/nix'), []);
  return root;
}

interface Row {
  readonly args: readonly string[];
  /** Where it would write; default: a folder that is not there. */
  readonly to?: string;
  readonly code: number;
  readonly says: readonly RegExp[];
}

const rows: Readonly<Record<string, () => Row>> = {
  'a root that leads to no store path': () => ({
    args: ['/etc/passwd'],
    code: 2,
    says: [/"\/etc\/passwd" as a root/, /asked: \/nix\/store/],
  }),
  'a flake reference': () => ({
    args: ['nixpkgs#hello'],
    code: 2,
    says: [/nix build --no-link --print-out-paths 'nixpkgs#hello'/],
  }),
  'a store path that the store lacks, there being no store': () => ({
    args: ['--from', `local?root=${temporaryFolder()}`, foo],
    code: 3,
    says: [/database/, /db\.sqlite/],
  }),
  'a store path that the store lacks': () => {
    const root = storeRoot();
    return {
      args: ['--from', `local?root=${root}`, foo],
      code: 3,
      says: [new RegExp(`${foo} in the store local\\?root=${RegExp.escape(root)}`)],
    };
  },
  'a link to a store path that the store lacks': () => {
    const root = storeRoot();
    symlinkSync(foo, join(root, 'result'));
    return {
      args: ['--from', `local?root=${root}`, join(root, 'result')],
      code: 3,
      says: [new RegExp(`Cannot find ${foo} in the store`)],
    };
  },
  'a store that is not there': () => ({
    args: ['--from', 'local?root=/no/such', foo],
    code: 3,
    says: [/\/no\/such is no directory/],
  }),
  'a store by its bare path': () => {
    const root = storeRoot();
    return {
      args: ['--from', root, foo],
      code: 2,
      says: [new RegExp(`write "local\\?root=${RegExp.escape(root)}"`)],
    };
  },
  'a store of which it knows no such parameter': () => ({
    args: ['--from', 'local?roots=/', foo],
    code: 2,
    says: [/unknown parameter "roots"; known are root, store, state, real/],
  }),
  'a daemon that is not there': () => ({
    args: ['--from', 'unix:///no/such/socket', foo],
    code: 8,
    says: [/Cannot reach the Nix daemon at \/no\/such\/socket: .*start nix-daemon/],
  }),
  'a daemon by a name from here': () => ({
    args: ['--from', 'unix://socket', foo],
    code: 2,
    says: [/the socket has to be an absolute path/],
  }),
  'a store of another kind': () => ({
    args: ['--from', 'ssh-ng://host', foo],
    code: 2,
    says: [/"ssh-ng:\/\/host" in this version/],
  }),
  'another StoreDir': () => ({
    args: ['--add', docs],
    to: folderWith({ 'nix-cache-info': 'StoreDir: /gnu/store\n' }),
    code: 7,
    says: [/paths of \/nix\/store/, /a cache for \/gnu\/store/],
  }),
  'a target that is a file': () => ({
    args: ['--add', docs],
    to: join(folderWith({ file: '' }), 'file'),
    code: 2,
    says: [/it is a file, not a directory/],
  }),
  'a target below a file': () => ({
    args: ['--add', docs],
    to: join(folderWith({ file: '' }), 'file/cache'),
    code: 2,
    says: [/file is a file, not a directory/],
  }),
  'a folder with other things in it': () => ({
    args: ['--add', docs],
    to: folderWith({ 'my thesis.txt': 'x' }),
    code: 2,
    says: [/"my thesis\.txt"/, /name a new or empty folder/],
  }),
  'a graph that is no JSON': () => ({
    args: ['--graph', graphFile('{')],
    code: 4,
    says: [/it is no JSON/],
  }),
  'a graph with a field missing': () => ({
    args: ['--graph', graphFile([{ path: foo, narSize: 1, references: [] }])],
    code: 4,
    says: [/narHash/, /missing/],
  }),
  'a graph with a reference outside of it': () => ({
    args: ['--graph', graphFile([{ path: foo, narHash, narSize: 1, references: [`${foo}2`] }])],
    code: 4,
    says: [/references/, /foo2/],
  }),
  'a graph that is not there': () => ({
    args: ['--graph', '/no/such/graph'],
    code: 3,
    says: [/\/no\/such\/graph: it is not there/],
  }),
  'a named pipe in a tree': () => {
    const tree = temporaryFolder();
    assert.equal(spawnSync('mkfifo', [join(tree, 'pipe')]).status, 0);
    return { args: ['--add', `${tree}=tree`], code: 4, says: [/"pipe" of .* it is a named pipe/] };
  },
  'a tree nested too deep': () => {
    const tree = temporaryFolder();
    mkdirSync(join(tree, ...Array(64).fill('d')), { recursive: true });
    return {
      args: ['--add', `${tree}=tree`],
      code: 4,
      says: [/"(d\/){63}d" of .*: it is nested too deep/],
    };
  },
  'a tree whose name no store path has': () => ({
    args: ['--add', join(folderWith({ 'my thesis': '' }), 'my thesis')],
    code: 2,
    says: [/"my thesis"/, /--add .*my thesis=NAME/],
  }),
  'a tree that is not there': () => ({
    args: ['--add', '/no/such/tree'],
    code: 3,
    says: [/\/no\/such\/tree/, /nothing of that name/],
  }),
  'an unknown option': () => ({
    args: ['--add', docs, '--complession', 'xz'],
    code: 2,
    says: [/--complession/, /did you mean --compression\?/],
  }),
  'a short option': () => ({ args: ['-v'], code: 2, says: [/-v: there is no such option/] }),
  'an unknown compression': () => ({
    args: ['--add', docs, '--compression', 'zst'],
    code: 2,
    says: [/one of zstd, xz, gzip, br, none/, /did you mean zstd\?/],
  }),
  'a level out of range': () => ({
    args: ['--add', docs, '--level', '23'],
    code: 2,
    says: [/--level 23: it takes a whole number from 1 to 22/],
  }),
  'a level that is no number': () => ({
    args: ['--add', docs, '--level', 'best'],
    code: 2,
    says: [/--level best/],
  }),
  'a level for none': () => ({
    args: ['--add', docs, '--compression', 'none', '--level', '1'],
    code: 2,
    says: [/it has none/],
  }),
  'no jobs': () => ({ args: ['--add', docs, '--jobs', '0'], code: 2, says: [/from 1 to/] }),
  'nothing to make a cache of': () => ({ args: [], code: 2, says: [/at least one ROOT/] }),
  'an option without its value': () => ({
    args: ['--add'],
    code: 2,
    says: [/--add PATH\[=NAME\]/],
  }),
  'an option that takes the next for its value': () => ({
    args: ['--add', '--listings'],
    code: 2,
    says: [/--add without a value/],
  }),
  'a flag with a value': () => ({
    args: ['--add', docs, '--listings=yes'],
    code: 2,
    says: [/takes no value/],
  }),
  'a key file that is not there': () => ({
    args: ['--add', docs, '--sign', '/no/key'],
    code: 2,
    says: [/key file \/no\/key: there is no such file/],
  }),
};

for (const [what, row] of Object.entries(rows))
  test(`make refuses ${what}, in one sentence, and writes nothing`, async () => {
    const { args, to = join(temporaryFolder(), 'cache'), code, says } = row();
    const before =
      existsSync(to) && readdirSync(join(to, '..')).length > 0 ? snapshot(to) : undefined;
    const [ran, json] = await Promise.all([
      granary(['make', '--to', to, ...args]),
      granary(['make', '--to', to, '--json', ...args]),
    ]);
    assert.equal(ran.code, code, ran.stderr);
    assert.equal(ran.stdout, '');
    assert.match(ran.stderr, /^granary: Cannot [^\n]*[.?]\n$/);
    for (const part of says) assert.match(ran.stderr, part);
    assert.deepEqual(existsSync(to) ? snapshot(to) : undefined, before);
    const lines = json.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line));
    assert.deepEqual(
      lines.map(line => line.type),
      ['error', 'summary'],
    );
    assert.deepEqual([lines[1].ok, lines[1].exit, json.code, json.stderr], [false, code, code, '']);
  });

const base64 = (bytes: number): string => Buffer.alloc(bytes, 'granary').toString('base64');
const secretKey = `test-1:${base64(64)}`;

/** Key files with a fault each; every one of them holds the same secret, or part of it. */
const keyFaults: Readonly<Record<string, readonly [text: string, says: RegExp]>> = {
  'a leading blank line': [`\n${secretKey}`, /begins with a blank/],
  'no name': [base64(64), /no NAME:BASE64/],
  'an empty name': [`:${base64(64)}`, /no NAME:BASE64/],
  'a name with a blank': [`test 1:${base64(64)}`, /its name has a blank/],
  'a key cut short': [secretKey.slice(0, -9), /not 64 bytes of base-64/],
  'a public key': [`test-1:${base64(32)}`, /it is a public key/],
  'halves that do not belong together': [secretKey, /two halves/],
};

for (const [what, [text, says]] of Object.entries(keyFaults))
  test(`a secret key file with ${what} is refused by make and sign, which name the file and not the secret`, async () => {
    const file = join(folderWith({ key: text }), 'key');
    const cache = join(temporaryFolder(), 'cache');
    for (const words of [
      ['make', '--to', cache, '--add', docs],
      ['sign', cache],
    ])
      for (const json of [[], ['--json']]) {
        const { code, stdout, stderr } = await granary([...words, '--sign', file, ...json]);
        assert.equal(code, 2);
        assert.match(stdout + stderr, says);
        assert.ok((stdout + stderr).includes(`key ${file}: `));
        assert.ok(!(stdout + stderr).includes(base64(64).slice(0, 20)), 'the secret is shown');
      }
    assert.equal(existsSync(cache), false);
  });

test('a secret key where a public one belongs is not shown', async () => {
  const args = ['verify', '--trusted-key', secretKey, temporaryFolder()];
  const { code, stdout, stderr } = await granary(args);
  assert.equal(code, 2);
  assert.match(stderr, /of the name "test-1": it is a secret key/);
  assert.ok(!(stdout + stderr).includes(base64(64).slice(0, 20)));
});

function snapshot(to: string): unknown {
  try {
    return contentOf(to);
  } catch {
    return 'no folder';
  }
}

test('a target that may not be written is usage', async () => {
  const folder = scratch();
  mkdirSync(join(folder, 'cache'), { mode: 0o555 });
  // Root may write everywhere, so it asks somebody else to try.
  const copy = copyForClients();
  const argv = [copy.node, join(copy.folder, 'bin/granary.js'), 'make'];
  argv.push('--to', join(folder, 'cache'), '--add', `${copy.folder}/bin=bin`);
  const { code, stderr } = await execute(argv, { user: client });
  assert.equal(code, 2, stderr);
  assert.match(stderr, /^granary: Cannot write .*you may not do that there\.\n$/);
  assert.deepEqual(readdirSync(join(folder, 'cache')), []);
});

test('without --to, make says what to add', async () => {
  const { code, stderr } = await granary(['make', '--add', docs]);
  assert.deepEqual([code, /--to \.\/cache/.test(stderr)], [2, true]);
});

for (const [args, code, shows] of [
  [[], 0, /make a binary cache/],
  [['--help'], 0, /make a binary cache/],
  [['help', 'make'], 0, /--to CACHE/],
  [['make', '--help'], 0, /Exit status: 0 done/],
  [['--version'], 0, /^granary \d+\.\d+\.\d+\n$/],
] as const)
  test(`granary ${args.join(' ')} shows help or version`, async () => {
    const ran = await granary(args);
    assert.deepEqual([ran.code, ran.stderr], [code, '']);
    assert.match(ran.stdout, shows);
  });

test('an unknown command is usage, with the nearest', async () => {
  const { code, stderr } = await granary(['mkae']);
  assert.deepEqual(
    [code, stderr],
    [
      2,
      'granary: Cannot run "granary mkae": there is no such command; did you mean "granary make"?\n',
    ],
  );
});

test('with --json even a command that there is not ends with a summary', async () => {
  const { code, stdout, stderr } = await granary(['mkae', '--json']);
  const lines = stdout.split('\n').filter(Boolean);
  const types = lines.map(line => JSON.parse(line)).map(({ type, ok }) => [type, ok]);
  assert.deepEqual([code, stderr], [2, '']);
  assert.deepEqual(types, [
    ['error', undefined],
    ['summary', false],
  ]);
});

test('--quiet prints nothing when all is well, and errors when not', async () => {
  const to = join(temporaryFolder(), 'cache');
  assert.deepEqual(await granary(['make', '--quiet', '--to', to, '--add', docs]), {
    code: 0,
    stdout: '',
    stderr: '',
  });
  const ran = await granary(['make', '--quiet', '--to', to, '--add', '/no/such']);
  assert.deepEqual([ran.code, ran.stdout, ran.stderr.split('\n').length], [3, '', 2]);
});

test('--json prints a plan, the paths, and the summary last', async () => {
  const to = join(temporaryFolder(), 'cache');
  const { stdout } = await granary(['make', '--json', '--to', to, '--add', docs]);
  const lines = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  assert.deepEqual(
    lines.map(line => line.type),
    ['plan', 'path', 'summary'],
  );
  const { type, ok, exit, paths, added, present } = lines[2];
  assert.deepEqual(
    { type, ok, exit, paths, added, present },
    { type: 'summary', ok: true, exit: 0, paths: 1, added: 1, present: 0 },
  );
});

test('--dry-run tells what there is to do, and writes nothing', async () => {
  const to = join(temporaryFolder(), 'cache');
  const { code, stdout } = await granary(['make', '--dry-run', '--to', to, '--add', docs]);
  assert.equal(code, 0);
  assert.match(
    stdout,
    /Would pack 1 path \(.* before compression\) into .*; 0 paths already there; .* are free there\./,
  );
  assert.ok(!existsSync(to));
});

test('a reader that goes away early gets no stack', async () => {
  const to = join(temporaryFolder(), 'cache');
  const script = `"$0" "${program}" make --help | head -1; "$0" "${program}" make --json --to ${to} --add ${docs} | head -c 1`;
  const { stderr } = await execute(['sh', '-c', script, process.execPath]);
  assert.equal(stderr, '');
});

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`${signal} in the middle of make ends it with 130, and leaves nothing`, async () => {
    const to = join(temporaryFolder(), 'cache');
    const big = join(temporaryFolder(), 'big');
    writeFileSync(big, randomBytes(64_000_000)); // more than is kept in memory, at a level that takes its time
    const child = startGranary(['make', '--json', '--to', to, '--add', big, '--level', '15']);
    const end = ended(child);
    const spooling = (): boolean =>
      existsSync(join(to, 'nar')) && readdirSync(join(to, 'nar')).some(isTemporaryKey);
    while (!spooling()) {
      assert.equal(child.exitCode, null, 'it ended before it could be interrupted');
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    child.kill(signal);
    const { code, stdout } = await end;
    assert.equal(code, 130);
    assert.match(stdout, /\{"type":"summary","ok":false,"exit":130\}\n$/);
    assert.deepEqual(await proofOf(to), { faults: [], narInfos: 0 });
    assert.deepEqual(temporariesIn(to), []);
  });

test('an interrupt does not wait for a big tree to be hashed', async () => {
  const tree = join(temporaryFolder(), 'sparse');
  writeFileSync(tree, '');
  truncateSync(tree, 40 * 2 ** 30);
  const child = startGranary(['make', '--to', join(temporaryFolder(), 'cache'), '--add', tree]);
  const end = ended(child);
  setTimeout(() => child.kill('SIGINT'), 1500);
  assert.equal((await end).code, 130);
});

/** Nodes on this machine that are too old. */
const oldNode = [
  '/usr/bin/node',
  '/usr/local/bin/node',
  ...(process.env.PATH ?? '').split(':').map(dir => join(dir, 'node')),
].find(file => {
  if (!existsSync(file)) return false;
  const { stdout } = spawnSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' });
  return Number.parseInt(stdout, 10) < 24;
});

test('an old Node gets one sentence and exit 2', {
  skip: oldNode ? false : 'no Node before 24 on this machine',
}, async () => {
  const child = spawn(oldNode!, [program, '--version'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', text => {
    stderr += text;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 2);
  assert.match(
    stderr,
    /^granary: Cannot run on Node \d+\.\d+\.\d+: it needs Node 24 or newer\. [^\n]*\n$/,
  );
});
