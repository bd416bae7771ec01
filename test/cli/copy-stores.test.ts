/** `granary copy` and `granary info` with stores, as a user calls them. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { sha256 } from '../../src/format/hash.ts';
import { generateKey } from '../../src/format/key.ts';
import { dumpTree } from '../../src/store/filesystem.ts';
import { contentOf, proofOf } from '../cache/proof.ts';
import { ended, granary, repository, startGranary } from '../granary.ts';
import { serve } from '../storage/http-server.ts';
import { makeDatabase } from '../store/made-database.ts';
import { receivingDaemon } from '../store/receiving-daemon.ts';
import { temporaryFolder } from '../temporary.ts';

const folder = temporaryFolder();
const root = join(folder, 'root');
const real = join(root, 'nix/store');
mkdirSync(real, { recursive: true });
const rows = ['app', 'lib', 'other'].map((name, at) => {
  const base = `${String(at + 1).repeat(32)}-${name}`;
  writeFileSync(join(real, base), name);
  const nar = Buffer.concat([
    ...dumpTree(join(real, base), { block: () => Buffer.alloc(1 << 10), listing: false }),
  ]);
  return { path: `/nix/store/${base}`, hash: sha256(nar), narSize: nar.length, sigs: 'old-1:AAAA' };
});
makeDatabase(join(root, 'nix/var/nix'), rows, [1, 2]); // the first refers to itself and the second
const [app, lib, other] = rows.map(({ path }) => path) as [string, string, string];
const store = `local?root=${root}`;
symlinkSync(app, join(folder, 'result'));
writeFileSync(join(folder, 'roots'), `# what is shipped\n${other}\n\n`);
const secret = join(folder, 'secret.key');
writeFileSync(secret, generateKey('test-1').secret);

const fresh = (): string => join(temporaryFolder(), 'cache');
const cache = fresh();
const whole = await granary(['copy', '--from', store, '--to', cache, '--no-flush', app, other]);
assert.equal(whole.code, 0, whole.stderr);

async function output(code: number, ...args: readonly string[]): Promise<string> {
  const ran = await granary(args);
  assert.equal(ran.code, code, ran.stderr);
  return ran.stdout;
}
const summaryOf = (text: string) => JSON.parse(text.trim().split('\n').at(-1)!);
const narInfosOf = async (dir: string): Promise<number> => {
  const { faults, narInfos } = await proofOf(dir);
  assert.deepEqual(faults, []);
  return narInfos;
};

const web = await serve(temporaryFolder(), (_, reply) => reply.writeHead(404).end());
const socket = 'unix:///no/such/socket';
for (const [what, args, message] of [
  [
    'no ROOT of a store',
    ['--from', store, '--to', fresh()],
    /Cannot copy all of the store local.*name at least one ROOT/,
  ],
  [
    'an empty list of ROOTs of a store',
    ['--from', store, '--to', fresh(), '--roots', '/dev/null'],
    /name at least one ROOT/,
  ],
  ['no ROOT of a daemon', ['--from', 'daemon', '--to', fresh()], /all of the store daemon/],
  [
    'a store by its bare path',
    ['--from', root, '--to', fresh(), app],
    new RegExp(
      `Cannot use "${root}" as a cache: a Nix store lies there; write "local\\?root=${root}"`,
    ),
  ],
  [
    'a store by its bare path as the target',
    ['--from', cache, '--to', root],
    /write "local\?root=/,
  ],
  [
    'a store that nobody writes for us',
    ['--from', cache, '--to', store],
    /Cannot write into the store local\?root=.*: only Nix itself does that, by its daemon; start one with 'NIX_DAEMON_SOCKET_PATH=\/tmp\/nix-socket NIX_REMOTE="local\?root=.*" nix-daemon', and name it by "--to unix:\/\/\/tmp\/nix-socket"/,
  ],
  ['a host', ['--from', cache, '--to', 'ssh-ng://host'], /"ssh-ng:\/\/host"/],
  ['a daemon to itself', ['--from', socket, '--to', socket, app], /Cannot copy unix:.* to itself/],
  [
    'two sources',
    ['--from', cache, '--from', folder, '--to', fresh()],
    new RegExp(`Cannot use --from twice, as ${cache} and ${folder}: name one`),
  ],
  [
    'two sources into a store',
    ['--from', folder, '--from', cache, '--to', socket],
    new RegExp(`Cannot use --from twice, as ${folder} and ${cache}: name one`),
  ],
  [
    'two targets',
    ['--from', store, '--to', 'https://me:s3cret@host/a', '--to', fresh(), app],
    /Cannot use --to twice, as https:\/\/[^:]*host\/a and .*: name one/,
  ],
  [
    '--link out of a store',
    ['--link', '--from', store, '--to', fresh(), app],
    /Cannot use --link here/,
  ],
  ['--link into a store', ['--link', '--from', cache, '--to', socket], /Cannot use --link here/],
  [
    '--prefer into a store',
    ['--prefer', 'source', '--from', cache, '--to', socket],
    /Cannot use --prefer here: what a store has it keeps/,
  ],
  [
    '--jobs into a store',
    ['--jobs', '2', '--from', cache, '--to', socket],
    /Cannot use --jobs here: a store takes one path after the other/,
  ],
  [
    '--jobs that is no number, in a plan',
    ['--jobs', 'x', '--dry-run', '--from', cache, '--to', fresh()],
    /Cannot use --jobs x: it takes a whole number/,
  ],
  [
    '--link with what is far away',
    ['--link', '--from', cache, '--to', 's3://bucket?endpoint=http://127.0.0.1:9'],
    /Cannot use --link with s3:.*: only files on one disk/,
  ],
  ...(['--listings', '--debug-info'] as const).flatMap(option => [
    [
      `${option} into a store`,
      [option, '--from', cache, '--to', socket],
      new RegExp(`Cannot use ${option} here: a store keeps no such files; leave it out`),
    ] as const,
    [
      `${option} between caches`,
      [option, '--from', cache, '--to', fresh()],
      new RegExp(`Cannot use ${option} here: those that a cache has come along; leave it out`),
    ] as const,
  ]),
  [
    '--no-flush into a store',
    ['--no-flush', '--from', cache, '--to', socket],
    /Cannot use --no-flush here: a store decides/,
  ],
  [
    'a ROOT that is none',
    ['--from', store, '--to', fresh(), '/etc/passwd'],
    /"\/etc\/passwd" as a root/,
  ],
  [
    'a key that is not there',
    ['--from', store, '--to', fresh(), '--sign', '/no', app],
    /no such file/,
  ],
] as const)
  test(`copy of ${what} is usage`, async () => {
    const { code, stderr } = await granary(['copy', ...args]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
    const [, target] = args.slice((args as readonly string[]).indexOf('--to'));
    assert.ok(target === root || !existsSync(target!));
  });

for (const [what, args, code, message] of [
  [
    'a path that the store lacks',
    ['--from', store, '--to', fresh(), `/nix/store/${'9'.repeat(32)}-x`],
    3,
    /9-x in the store local/,
  ],
  [
    'a hash part that the store lacks',
    ['--from', store, '--to', fresh(), '9'.repeat(32)],
    3,
    /Cannot find 9+ in the store/,
  ],
  ['a cache that is not there', ['--from', fresh(), '--to', socket], 3, /nothing of that name/],
  ['a daemon that is not there', ['--from', cache, '--to', socket], 8, /there is no such socket/],
] as const)
  test(`copy of ${what} exits with ${code}`, async () => {
    const ran = await granary(['copy', ...args]);
    assert.equal(ran.code, code, ran.stderr);
    assert.match(ran.stderr, message);
  });

test('out of a store comes what make makes of it', async () => {
  const to = fresh();
  await output(0, 'make', '--from', store, '--to', to, app, other);
  assert.deepEqual(contentOf(cache), contentOf(to));
  assert.match(whole.stdout, /: 3 paths, 3 new;/);
  for (const named of [join(folder, 'result'), app, app.slice(11), '1'.repeat(32)]) {
    const again = fresh();
    const { added } = summaryOf(
      await output(0, 'copy', '--json', '--from', store, '--to', again, named),
    );
    assert.equal(added, 2, named);
    assert.equal(await narInfosOf(again), 2);
  }
  const planned = await output(0, 'copy', '--dry-run', '--from', store, '--to', to, app);
  assert.match(planned, /^Would pack 0 paths .*; 2 paths already there/m);
});

test('lists of roots, exclusions and signatures hold out of a store too', async () => {
  const from = ['copy', '--json', '--from', store, '--to'];
  const [listed, left] = [fresh(), fresh()];
  const roots = join(folder, 'roots');
  const list = summaryOf(await output(0, ...from, listed, '--roots', roots, '--sign', secret));
  assert.equal(list.added, 1);
  const info = await output(0, 'info', listed, other);
  assert.match(info, /signed by: old-1, test-1/);
  const { added, excluded } = summaryOf(
    await output(0, ...from, left, '--exclude', listed, app, other),
  );
  assert.deepEqual([added, excluded], [2, 1]);
});

for (const command of ['copy', 'make'])
  test(`${command} --no-closure packs a path alone where the cache, or another, has the rest`, async () => {
    const to = fresh();
    const args = [command, '--json', '--from', store, '--to', to, '--no-closure'];
    const { code, stdout } = await granary([...args, app]);
    assert.equal(code, 3);
    assert.match(stdout, new RegExp(`Cannot copy ${app} from local.*: it refers to ${lib}, which`));
    assert.ok(!existsSync(to));
    assert.equal(summaryOf(await output(0, ...args, lib)).added, 1);
    assert.equal(summaryOf(await output(0, ...args, app)).added, 1);
    assert.equal(await narInfosOf(to), 2);
    const apart = fresh();
    const out = ['--exclude', to];
    const alone = [command, '--json', '--from', store, '--to', apart, '--no-closure', ...out];
    assert.equal(summaryOf(await output(0, ...alone, app)).excluded, 1);
  });

for (const [what, ...args] of [
  ['make', 'make', '--from', store],
  ['copy out of a store', 'copy', '--from', store],
  ['copy between caches', 'copy', '--from', cache],
] as const)
  test(`${what} --no-closure --with brings what was named, and the target remembers who closes it`, async () => {
    const [closer, idle, to] = [fresh(), fresh(), fresh()];
    await output(0, 'copy', '--from', cache, '--to', closer, app);
    await output(0, 'copy', '--from', cache, '--to', idle, other);
    const alone = [...args, '--no-closure', '--to', to, app];
    for (const more of [[], ['--with', idle]]) {
      const { code, stderr } = await granary([...alone, ...more]);
      assert.equal(code, 3, stderr);
      assert.match(
        stderr,
        new RegExp(
          `^granary: Cannot copy ${app} from .*: it refers to ${lib}, .* by --with\\.$`,
          'm',
        ),
      );
      assert.ok(!existsSync(to));
    }
    await output(0, ...alone, '--with', idle, '--with', closer);
    assert.deepEqual(
      readdirSync(to).filter(name => name.endsWith('.narinfo')),
      [`${'1'.repeat(32)}.narinfo`],
    );
    const closedBy: unknown = JSON.parse(readFileSync(join(to, 'granary/closed-by.json'), 'utf8'));
    assert.deepEqual(closedBy, [closer, idle].sort());
    await output(1, 'verify', to);
    await output(0, 'verify', '--with', closer, to);
  });

test('what a cache with a hole has is copied where another cache fills it', async () => {
  const [holed, to] = [fresh(), fresh()];
  await output(0, 'copy', '--from', cache, '--to', holed);
  rmSync(join(holed, `${'2'.repeat(32)}.narinfo`));
  const args = ['copy', '--from', holed, '--to', to, app];
  await output(3, ...args);
  await output(0, ...args, '--with', cache);
  await output(0, 'verify', '--with', cache, to);
});

for (const [what, args, code, message] of [
  [
    'make with the closure',
    ['make', '--from', store, '--to', fresh()],
    2,
    /Cannot use --with without --no-closure: .*; leave it out/,
  ],
  [
    'copy with the closure out of a store',
    ['copy', '--from', store, '--to', fresh()],
    2,
    /Cannot use --with without --no-closure/,
  ],
  [
    'copy into a store',
    ['copy', '--no-closure', '--from', cache, '--to', socket],
    2,
    /Cannot use --with here: a store has to have itself what its paths refer to; leave it out/,
  ],
] as const)
  test(`--with of ${what} exits with ${code}`, async () => {
    const { code: exit, stderr } = await granary([...args, '--with', cache, app]);
    assert.equal(exit, code, stderr);
    assert.match(stderr, message);
  });

test('--with of what is no cache exits as every cache to read', async () => {
  for (const [named, code] of [
    [fresh(), 3],
    [folder, 2],
  ] as const) {
    const args = ['copy', '--no-closure', '--from', cache, '--to', fresh(), '--with', named, app];
    assert.equal((await granary(args)).code, code, named);
  }
});

test('a path that a store cannot have without another is refused, with what to do', async () => {
  const { socket } = await receivingDaemon();
  const args = ['copy', '--no-closure', '--from', cache, '--to', `unix://${socket}`, app];
  const { code, stderr } = await granary(args);
  assert.equal(code, 3, stderr);
  const told = `${lib}, which does not come along and which the store has not; copy that first`;
  assert.ok(stderr.includes(told), stderr);
});

for (const [option, ...words] of [
  ['--from', '--from', folder, '--from', store, '--to', fresh()],
  ['--to', '--from', store, '--to', fresh(), '--to', fresh()],
] as const)
  test(`make with ${option} twice is usage`, async () => {
    const { code, stderr } = await granary(['make', ...words, app]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, new RegExp(`Cannot use ${option} twice, as .* and .*: name one`));
    assert.ok(!existsSync(words.at(-1)!));
  });

test('make takes lists of roots, and makes no cache in a store', async () => {
  const to = fresh();
  await output(0, 'make', '--from', store, '--to', to, '--roots', join(folder, 'roots'));
  assert.equal(await narInfosOf(to), 1);
  const { code, stderr } = await granary(['make', '--from', store, '--to', 'daemon', app]);
  assert.equal(code, 2);
  assert.match(stderr, /Cannot make a cache in the store daemon: name a folder.*granary copy/);
});

test('into a store goes what it lacks, and the summary tells', async () => {
  const daemon = await receivingDaemon();
  const to = `unix://${daemon.socket}`;
  const planned = await output(0, 'copy', '--dry-run', '--json', '--from', cache, '--to', to, app);
  const narBytes = rows[0]!.narSize + rows[1]!.narSize;
  const { fileBytes, ...plan } = summaryOf(planned);
  assert.ok(fileBytes > 0);
  assert.deepEqual(plan, {
    type: 'summary',
    ok: true,
    exit: 0,
    dryRun: true,
    missing: 2,
    present: 0,
    excluded: 0,
    broken: [],
    held: [],
    conflicts: [],
    narBytes,
  });
  assert.equal(daemon.valid.size, 0);
  const told = await output(0, 'copy', '--from', cache, '--to', to, app);
  assert.match(told, /^unix:.*: 2 paths copied, \d+ B, 0 paths already there; .* s\.$/m);
  assert.match(told, new RegExp(`"nix-store --realise ${app} --add-root ./result" does\\.$`, 'm'));
  const rest = await output(0, 'copy', '--json', '--from', cache, '--to', to, '--sign', secret);
  const events = rest
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  assert.deepEqual(
    events.filter(({ type }) => type === 'plan'),
    [{ ...events[0], type: 'plan', paths: 3, present: 2, missing: 1, narBytes: rows[2]!.narSize }],
  );
  const { seconds, ...summary } = events.at(-1);
  assert.ok(seconds >= 0);
  assert.deepEqual(summary, {
    type: 'summary',
    ok: true,
    exit: 0,
    source: cache,
    store: to,
    copied: 1,
    present: 2,
    excluded: 0,
    broken: [],
    failed: [],
    held: [],
    conflicts: [],
    narBytes: rows[2]!.narSize,
  });
  const signatures = [...daemon.valid.values()].map(info => info.signatures.length);
  assert.deepEqual(signatures.sort(), [1, 1, 2], 'what was there is not signed');
});

test('a target that goes in the middle: told how far it came, and the next run completes it', async () => {
  const gone = await receivingDaemon({ meets: (_, daemon) => daemon.stop() });
  let room = 1;
  const dir = temporaryFolder();
  const server = await serve(dir, (request, reply, rest) => {
    if (request.method !== 'PUT' || !request.url!.endsWith('.narinfo') || room-- > 0)
      return rest.pass();
    return reply.writeHead(503, { 'Retry-After': '100000' }).end();
  });
  for (const [to, done] of [
    [`unix://${gone.socket}`, 0],
    [server.url, 1],
  ] as const) {
    const { code, stdout, stderr } = await granary(['copy', '--from', cache, '--to', to]);
    assert.equal(code, 8, stderr);
    const left = 3 - done;
    assert.match(
      stdout,
      new RegExp(`^Broken off: ${done} paths? done, ${left} left. Run the same command`),
    );
  }
  room = 0;
  const json = await output(8, 'copy', '--json', '--from', cache, '--to', server.url);
  assert.deepEqual(summaryOf(json), { type: 'summary', ok: false, exit: 8, done: 0, left: 2 });
  room = 2;
  assert.match(await output(0, 'copy', '--from', cache, '--to', server.url), /2 paths copied/);
  assert.equal(await narInfosOf(dir), 3);
});

test('a summary tells what --sign has not signed, since it was there', async () => {
  const { socket } = await receivingDaemon();
  const told = /What was there keeps the signatures that it has/;
  for (const to of [`unix://${socket}`, fresh()]) {
    const args = ['copy', '--from', cache, '--to', to, '--sign', secret];
    assert.doesNotMatch(await output(0, ...args, app), told);
    assert.match(await output(0, ...args), told);
    assert.doesNotMatch(await output(0, ...args.slice(0, -2)), told);
  }
});

test('docs/json.md names what the summaries of a copy hold', async () => {
  const row = /^\| \| `copy`: (`source`.*)$/m.exec(
    readFileSync(join(repository, 'docs/json.md'), 'utf8'),
  )![1]!;
  const [whole, planned] = row
    .replace(/\([^)]*\)/g, '')
    .split(';')
    .map(part => [...part.matchAll(/`(\w+)`/g)].map(([, field]) => field));
  for (const [fields, more] of [
    [whole, []],
    [planned, ['--dry-run']],
  ] as const) {
    const told = await output(0, 'copy', '--json', '--from', cache, '--to', fresh(), ...more);
    const { type, ok, exit, ...summary } = summaryOf(told);
    assert.deepEqual(Object.keys(summary).sort(), fields!.toSorted());
  }
});

test('files that --link shared are told as not read, but for those that --sign has proven', async () => {
  const args = (...more: readonly string[]) => ['copy', '--from', cache, '--to', fresh(), ...more];
  assert.match(
    await output(0, ...args('--link')),
    /3 files were not read; "granary verify" proves/,
  );
  for (const more of [[], ['--link', '--sign', secret]])
    assert.doesNotMatch(await output(0, ...args(...more)), /not read/);
});

test('auto is the daemon, and a store goes into another', async () => {
  const daemon = await receivingDaemon();
  const env = { NIX_DAEMON_SOCKET_PATH: daemon.socket, NIX_REMOTE: '' };
  const args = ['copy', '--from', store, '--to', 'auto', join(folder, 'result')];
  const { code, stderr } = await ended(startGranary(args, [], env));
  assert.equal(code, 0, stderr);
  assert.deepEqual([...daemon.valid.keys()], [lib, app]);
  const without = { NIX_DAEMON_SOCKET_PATH: '/no/such/socket', NIX_REMOTE: '' };
  const refused = await ended(startGranary(args, [], without));
  assert.equal(refused.code, 2);
  assert.match(
    refused.stderr,
    /start one with 'NIX_DAEMON_SOCKET_PATH=\/tmp\/nix-socket nix-daemon'/,
  );
});

test('what a daemon does not trust ends with 6', async () => {
  const daemon = await receivingDaemon({
    refuses: ({ path }) =>
      path === lib ? `'${path}' lacks a signature by a trusted key` : undefined,
  });
  const to = `unix://${daemon.socket}`;
  const { code, stdout, stderr } = await granary(['copy', '--from', cache, '--to', to]);
  assert.equal(code, 6);
  assert.match(
    stderr,
    new RegExp(`^granary: Cannot put ${lib} into ${to}: it trusts no key .*\\(old-1\\)`),
  );
  assert.match(
    stdout,
    /: 1 path copied, .*, 1 path failed, 1 path held back, since it refers to such; /,
  );
  assert.doesNotMatch(stdout, /add-root/);
});

test('info tells what a store says of paths', async () => {
  const text = await output(0, 'info', store, join(folder, 'result'));
  assert.match(
    text,
    new RegExp(
      `^${app}\n  NAR: \\d+ B, sha256:\\S+\n  references: \n    ${app}\n    ${lib}\n  signed by: old-1\n$`,
    ),
  );
  const lines = (await output(0, 'info', '--json', '--closure', store, '1'.repeat(32)))
    .trim()
    .split('\n');
  const [first, second, summary] = lines.map(line => JSON.parse(line));
  assert.deepEqual(
    [first.path, first.narHash, first.url, second.path],
    [app, rows[0]!.hash, null, lib],
  );
  assert.deepEqual(summary, {
    type: 'summary',
    ok: true,
    exit: 0,
    paths: 2,
    narBytes: rows[0]!.narSize + rows[1]!.narSize,
  });
  const database = join(root, 'nix/var/nix/db/db.sqlite');
  assert.equal(
    await output(0, 'info', store),
    `${store}: a Nix store, its paths in /nix/store\n  database: ${database}, 3 paths\n`,
  );
  const daemon = await receivingDaemon();
  const itself = await output(0, 'info', `unix://${daemon.socket}`);
  assert.match(itself, /^unix:.* a Nix store, .*\n {2}daemon: Nix \S+, (trusts us|does not say)/);
  const { storeDir, paths, nixVersion } = summaryOf(await output(0, 'info', '--json', store));
  assert.deepEqual([storeDir, paths, nixVersion], ['/nix/store', 3, null]);
  await output(0, 'copy', '--from', cache, '--to', `unix://${daemon.socket}`);
  assert.equal(await output(0, 'info', `unix://${daemon.socket}`, app), text);
  for (const [args, code, message] of [
    [['--all', store, app], 2, /name PATHs/],
    [[store, `/nix/store/${'9'.repeat(32)}-x`], 3, /9-x in the store/],
    [[root, app], 2, /write "local\?root=/],
  ] as const) {
    const { code: exit, stderr } = await granary(['info', ...args]);
    assert.equal(exit, code, stderr);
    assert.match(stderr, message);
  }
});

/** The same paths, of which the first have this content. */
function storeOf(contents: readonly string[]): { readonly store: string; readonly real: string } {
  const root = join(temporaryFolder(), 'root');
  mkdirSync(join(root, 'nix/store'), { recursive: true });
  const changed = rows.map((row, at) => {
    const file = join(root, row.path);
    writeFileSync(file, contents[at] ?? row.path.slice(44));
    const nar = Buffer.concat([
      ...dumpTree(file, { block: () => Buffer.alloc(1 << 10), listing: false }),
    ]);
    return { ...row, hash: sha256(nar), narSize: nar.length };
  });
  makeDatabase(join(root, 'nix/var/nix'), changed, [1, 2]);
  return { store: `local?root=${root}`, real: join(root, 'nix/store') };
}

test('one path with two NARs is a conflict, from a store or into one: what is there stays', async () => {
  const to = fresh();
  await output(0, 'copy', '--from', store, '--to', to, app);
  const before = contentOf(to);
  const { store: changed } = storeOf(['other']);
  for (const more of [['--dry-run'], []]) {
    const args = ['copy', '--json', '--from', changed, '--to', to, ...more, app, other];
    const { code, stdout } = await granary(args);
    assert.equal(code, 7, stdout);
    assert.match(stdout, /Cannot copy .*-app: the source has it with NarHash .*--prefer source/);
    assert.deepEqual(summaryOf(stdout).conflicts, [app]);
    if (more.length > 0) assert.deepEqual(contentOf(to), before);
  }
  assert.equal(await narInfosOf(to), 3);
  await output(0, 'copy', '--prefer', 'source', '--from', changed, '--to', to, app);
  assert.notDeepEqual(contentOf(to), before);

  const daemon = await receivingDaemon();
  const its = `unix://${daemon.socket}`;
  await output(0, 'copy', '--from', store, '--to', its, app);
  for (const ends of [
    ['--from', changed, '--to', its],
    ['--from', cache, '--to', to],
  ]) {
    const planned = await output(7, 'copy', '--dry-run', '--json', ...ends, app);
    assert.deepEqual(summaryOf(planned).conflicts, [app]);
  }
  const { code, stderr } = await granary(['copy', '--from', changed, '--to', its, app, other]);
  assert.equal(code, 7, stderr);
  assert.match(stderr, /Cannot copy .*-app: .* unix:.* with .*; it keeps its own\.$/m);
  assert.equal(daemon.valid.size, 3);
});

/** A store whose paths have derivers, and what their logs are called in it and in a cache. */
function loggedStore() {
  const folder = join(temporaryFolder(), 'root');
  const derivers = rows.map((_, at) => `${String(at + 5).repeat(32)}-built.drv`);
  cpSync(root, folder, { recursive: true });
  rmSync(join(folder, 'nix/var/nix'), { recursive: true });
  const derived = rows.map((row, at) => ({ ...row, deriver: `/nix/store/${derivers[at]}` }));
  makeDatabase(join(folder, 'nix/var/nix'), derived, [1, 2]);
  const logs = derivers.map(name => {
    const dir = join(folder, 'nix/var/log/nix/drvs', name.slice(0, 2));
    mkdirSync(dir, { recursive: true });
    return join(dir, name.slice(2));
  });
  return { store: `local?root=${folder}`, logs, keys: derivers.map(name => `log/${name}`) };
}

test('out of a local store come the logs that it has, without being asked for; what is there stays', async () => {
  const { store, logs, keys } = loggedStore();
  writeFileSync(logs[0]!, 'app is built\n');
  writeFileSync(logs[2]!, 'of another\n');
  const to = fresh();
  const args = ['copy', '--json', '--from', store, '--to', to];
  assert.equal(summaryOf(await output(0, ...args, '--dry-run', app)).logs, undefined);
  assert.equal(summaryOf(await output(0, ...args, app)).logs, 1);
  assert.equal(readFileSync(join(to, keys[0]!), 'utf8'), 'app is built\n');
  assert.deepEqual(readdirSync(join(to, 'log')).sort(), [keys[0]!.slice(4), 'KEEP']);
  writeFileSync(logs[0]!, 'app is built again\n');
  writeFileSync(logs[1]!, 'lib is built\n');
  assert.equal(summaryOf(await output(0, ...args, app)).logs, 1, 'of a path that was there');
  assert.equal(readFileSync(join(to, keys[0]!), 'utf8'), 'app is built\n');
  assert.equal(readFileSync(join(to, keys[1]!), 'utf8'), 'lib is built\n');
  await output(0, 'verify', '--strict', to);
  const asked = fresh();
  await output(0, 'make', '--from', store, '--to', asked, app);
  assert.deepEqual(readdirSync(join(asked, 'log')), ['KEEP'], 'make brings none unasked');
});

test('logs that nobody asked for and nobody can read stay behind with a note; asked for, they are errors', async () => {
  const { store, logs, keys } = loggedStore();
  writeFileSync(`${logs[0]}.bz2`, 'no bzip2');
  writeFileSync(logs[1]!, 'lib is built\n');
  const words = ['--json', '--no-flush', '--from', store, app];
  for (const [command, PATH, code, type] of [
    [['copy'], process.env.PATH, 0, 'note'],
    [['copy'], '/nowhere', 0, 'note'],
    [['make', '--logs'], '/nowhere', 3, 'error'],
  ] as const) {
    const to = fresh();
    const ran = await ended(startGranary([...command, ...words, '--to', to], [], { PATH }));
    assert.equal(ran.code, code, ran.stdout);
    const told = ran.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
      .filter(line => line.type === type);
    assert.equal(told.length, 1, ran.stdout);
    const about = new RegExp(`Cannot read the build log ${logs[0]}\\.bz2: `);
    assert.match(told[0].message, about);
    assert.equal(/--logs/.test(told[0].message), type === 'error', told[0].message);
    assert.equal(await narInfosOf(to), 2);
    if (type === 'note') assert.ok(existsSync(join(to, keys[1]!)));
  }
});

test('out of a store, --listings and --debug-info write what make does', async () => {
  const root = join(temporaryFolder(), 'root');
  const tree = join(root, other);
  mkdirSync(join(tree, 'lib/debug/.build-id/ab'), { recursive: true });
  writeFileSync(join(tree, `lib/debug/.build-id/ab/${'c'.repeat(38)}.debug`), 'debug');
  const nar = Buffer.concat([
    ...dumpTree(tree, { block: () => Buffer.alloc(1 << 10), listing: false }),
  ]);
  const row = { path: other, hash: sha256(nar), narSize: nar.length };
  makeDatabase(join(root, 'nix/var/nix'), [row]);
  const debugKey = `debuginfo/ab${'c'.repeat(38)}.debug`;
  const listingKey = `${'3'.repeat(32)}.ls`;
  for (const [options, expected] of [
    [[], []],
    [['--listings'], [listingKey]],
    [['--debug-info'], [debugKey]],
    [
      ['--listings', '--debug-info'],
      [listingKey, debugKey],
    ],
  ] as const) {
    const [made, copied] = [fresh(), fresh()];
    const more = ['--from', `local?root=${root}`, ...options, other];
    await output(0, 'make', '--to', made, ...more);
    await output(0, 'copy', '--to', copied, ...more);
    const content = contentOf(copied);
    assert.deepEqual(
      [listingKey, debugKey].filter(key => Object.hasOwn(content, key)),
      expected,
    );
    assert.deepEqual(content, contentOf(made));
  }
});

test('who closes a cache is remembered by its address, without what opens it, and a list by its name', async () => {
  const dir = temporaryFolder();
  const list = join(dir, 'have.txt');
  const netrc = join(dir, 'netrc');
  const installed = join(dir, 'installed');
  writeFileSync(list, `${lib}\n`);
  writeFileSync(netrc, 'machine 127.0.0.1 login me password s3cret');
  await output(0, 'copy', '--from', store, '--to', installed, lib);
  const { url } = await serve(installed);
  const open = url.replace('//', '//me:s3cret@');
  for (const [named, remembered] of [
    [list, 'have.txt'],
    [relative('.', installed), installed],
    [open, url],
    [`${url}?netrc-file=${netrc}`, url],
  ] as const)
    for (const from of [store, cache]) {
      const to = fresh();
      await output(0, 'copy', '--from', from, '--to', to, '--exclude', named, app);
      const file = join(to, 'granary/closed-by.json');
      assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), [remembered]);
      if (remembered === 'have.txt') continue;
      assert.match(await output(1, 'verify', to), new RegExp(`closed-by.json names ${remembered}`));
      await output(0, 'verify', '--with', remembered, to);
    }
});

test('a file of the store that is no list is a closure', async () => {
  for (const content of [
    '#!/bin/sh\nexec app\n',
    '# a script of comments\n',
    '',
    'Derive([],[])',
  ]) {
    const { store, real } = storeOf([content, content]);
    const to = fresh();
    const inStore = join(real, lib.slice('/nix/store/'.length));
    await output(0, 'copy', '--from', store, '--to', to, '--exclude', inStore, app);
    assert.equal((await proofOf(to)).narInfos, 1, content);
  }
});

for (const [what, named, code, message] of [
  ['a list with too long a name', `/${'x'.repeat(300)}`, 2, /Cannot look for \/x+: the name is/],
  ['a URL with a long part', `${web.url}/${'x'.repeat(300)}`, 3, /there is no nix-cache-info/],
  ['a store', 'auto', 2, /all of the store "auto": name a path in it/],
  ['a store over ssh', 'ssh://host', 2, /all of the store "ssh:\/\/host"/],
  ['a list in no folder', join(folder, 'roots/list'), 2, /roots is a file, not a directory/],
  ['a folder with no cache', folder, 2, /neither nix-cache-info nor a narinfo/],
] as const)
  test(`--exclude of ${what} exits with ${code}`, async () => {
    for (const from of [store, cache]) {
      const args = ['copy', '--from', from, '--to', fresh(), '--exclude', named, app];
      const { code: exit, stderr } = await granary(args);
      assert.equal(exit, code, stderr);
      assert.match(stderr, message);
    }
  });

test('what a build has made in the Nix store is not added to, not even by root', async () => {
  const inside = join(temporaryFolder(), `${'0'.repeat(32)}-cache`);
  mkdirSync(inside);
  await output(0, 'make', '--from', store, '--to', inside, lib); // as a build does
  const before = contentOf(inside);
  for (const args of [
    ['make', '--from', store, '--to', inside, app],
    ['copy', '--from', store, '--to', inside, app],
    ['copy', '--from', cache, '--to', inside, app],
  ]) {
    const { code, stderr } = await granary(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /it lies in a Nix store, where nothing may change/);
  }
  assert.deepEqual(contentOf(inside), before);
});

test('nothing is made in what Nix has sealed, not even by root; a build may make what is not there yet', async () => {
  const built = join(temporaryFolder(), `${'0'.repeat(32)}-built`);
  mkdirSync(built);
  const below = join(built, 'cache');
  const ways = [
    ['make', '--from', store, app],
    ['copy', '--from', store, app],
    ['copy', '--from', cache],
  ];
  for (const way of ways) {
    await output(0, ...way, '--to', below);
    rmSync(below, { recursive: true });
  }
  const link = join(temporaryFolder(), 'result');
  symlinkSync(built, link);
  chmodSync(built, 0o555);
  for (const to of [link, join(link, 'cache'), below])
    for (const way of ways) {
      const { code, stderr } = await granary([...way, '--to', to]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /it lies in a Nix store, where nothing may change; name another folder/);
    }
  assert.deepEqual(readdirSync(built), []);
});

test('a compression that cannot be read here is usage, and hides no damage', async () => {
  const bad = fresh();
  await output(0, 'copy', '--from', cache, '--to', bad);
  const edit = (path: string, change: (text: string) => string): void => {
    const file = join(bad, `${path.slice(11, 43)}.narinfo`);
    writeFileSync(file, change(readFileSync(file, 'latin1')));
  };
  const bzip2 = Buffer.from('425a6839314159265359', 'hex');
  writeFileSync(join(bad, 'nar/x.bz2'), bzip2);
  edit(other, text =>
    text
      .replace(/^URL: .*$/m, 'URL: nar/x.bz2')
      .replace(/^Compression: .*$/m, 'Compression: bzip2')
      .replace(/^FileHash: .*$/m, `FileHash: ${sha256(bzip2)}`)
      .replace(/^FileSize: .*$/m, `FileSize: ${bzip2.length}`),
  );
  const ways = async () => [
    ['--to', fresh(), '--recompress', 'zstd'],
    ['--to', fresh(), '--sign', secret],
    ['--to', `unix://${(await receivingDaemon()).socket}`],
  ];
  for (const way of await ways()) {
    const { code, stderr } = await granary(['copy', '--from', bad, ...way]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /bzip2/);
  }
  edit(app, text => text.replace(/^NarSize: .*$/m, 'NarSize: 9'));
  for (const way of await ways()) {
    const { code, stderr } = await granary(['copy', '--from', bad, ...way]);
    assert.equal(code, 5, stderr);
    assert.match(stderr, /bzip2/);
  }
});

test('what a cache says is text, and cannot steer the terminal', async () => {
  const hostile = fresh();
  await output(0, 'copy', '--from', cache, '--to', hostile, app);
  const edit = (name: string, change: (text: string) => string): void => {
    const file = join(hostile, name);
    writeFileSync(file, change(readFileSync(file, 'utf8')));
  };
  edit('nix-cache-info', text => `${text}Note: \x1b]0;owned\x07 café\x9b\n`);
  edit(`${'1'.repeat(32)}.narinfo`, text =>
    text.replace('URL: nar/', 'URL: nar/\x1b[2Jé').replace('Sig: old', 'Sig: \x1b[2Jé'),
  );
  const told = await output(0, 'info', '--all', hostile);
  assert.match(told, /^ {2}Note: \\x1b\]0;owned\\x07 café\\x9b$/m);
  assert.match(told, /^ {2}file: nar\/\\x1b\[2Jé\w+\.nar/m);
  assert.equal(told.match(/^ {2}signed by: \\x1b\[2Jé-1\b/gm)?.length, 2);
  const { code, stderr } = await granary(['copy', '--from', hostile, '--to', fresh()]);
  assert.equal(code, 5, stderr);
  assert.doesNotMatch(stderr, /\x1b/);
});
