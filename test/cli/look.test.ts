/** `diff`, `info`, `ls`, `cat`, `why` and `size` as a user calls them. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { baseName, hashPart } from '../../src/format/store-path.ts';
import { Patient } from '../flow/damage.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { ended, granary, startGranary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';

const healthy = await makeHealthy(temporaryFolder());
const { app, base, lib, plain, twin } = healthy.paths;

function patientOf(): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

/** Standard output of a command that ends with this status. */
async function output(code: number, ...args: readonly string[]): Promise<string> {
  const ran = await granary(args);
  assert.equal(ran.code, code, ran.stderr);
  return ran.stdout;
}

const events = (text: string): readonly Record<string, unknown>[] =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));

test('diff of equal caches tells nothing, and ends with 0', async () => {
  assert.equal(
    await output(0, 'diff', healthy.cache, patientOf().dir),
    'Both have the same 5 paths.\n',
  );
});

test('diff names what only one has and what differs, and in what', async () => {
  const other = patientOf();
  rmSync(other.file(other.key('app')));
  other.edit('lib', text => text.replace(/^Sig: .*\n/m, ''));
  other.edit('lib', text => text.replace(/^References: .*$/m, `References: ${baseName(twin)}`));
  other.field('base', 'Compression', 'xz');
  other.field('plain', 'NarSize', '9');
  const text = await output(1, 'diff', healthy.cache, other.dir);
  assert.match(text, new RegExp(`^- ${app}  `, 'm'));
  assert.match(text, new RegExp(`^~ ${lib}  references, signatures$`, 'm'));
  assert.match(text, new RegExp(`^~ ${base}  file$`, 'm'));
  assert.match(text, new RegExp(`^~ ${plain}  narHash$`, 'm'));
  for (const line of [
    `    - references: ${base}`,
    `    \\+ references: ${twin}`,
    '    - signatures: test-1:.*==',
    '    - file: zstd, sha256:.*B',
    '    \\+ file: xz, sha256:.*B',
    '    - narHash: sha256:.*, 128 B',
    '    \\+ narHash: sha256:.*, 9 B',
  ])
    assert.match(text, new RegExp(`^${line}$`, 'm'));
  assert.doesNotMatch(text, /\+ signatures/);
  assert.match(text, /Compared were 5 paths \(.* in .* of files\) with 4 paths/);
  assert.doesNotMatch(text, new RegExp(`^. ${twin}`, 'm'));
  const back = await output(1, 'diff', other.dir, healthy.cache);
  assert.match(back, new RegExp(`^\\+ ${app}  `, 'm'));
  const json = events(await output(1, 'diff', '--json', healthy.cache, other.dir));
  assert.deepEqual(
    json.map(each => [each.state ?? each.type, each.path]),
    [
      ['first', app],
      ['different', base],
      ['different', lib],
      ['different', plain],
      ['summary', undefined],
    ].toSorted(([, a], [, b]) => (a === undefined ? 1 : b === undefined ? -1 : 0)),
  );
  const [only, ofBase, ofLib, summary] = [app, base, lib, undefined].map(path =>
    json.find(each => each.path === path),
  ) as Record<string, Record<string, unknown>>[];
  const { narSize, fileSize } = events(await output(0, 'info', '--json', healthy.cache, base))[0]!;
  const { first, second } = ofBase!;
  assert.equal(first!.compression, 'zstd');
  assert.deepEqual(second, { ...first, compression: 'xz', narSize, fileSize });
  assert.deepEqual(ofLib!.first!.references, [base]);
  assert.deepEqual([ofLib!.second!.references, ofLib!.second!.signatures], [[twin], []]);
  assert.ok(Number(only!.narSize) > Number(only!.fileSize));
  const { first: ours, second: theirs } = summary!.whole as Record<string, Record<string, number>>;
  assert.deepEqual([ours!.paths, theirs!.paths], [5, 4]);
  assert.ok(ours!.fileBytes! > theirs!.fileBytes!);
  assert.equal(
    await output(0, 'diff', healthy.cache, other.dir, twin),
    'Both have the same 1 path.\n',
  );
  const { code, stderr } = await granary(['diff', healthy.cache, other.dir, '9'.repeat(32)]);
  assert.equal(code, 3);
  assert.match(stderr, /neither .* nor .* has it/);
});

test('info tells of a cache, and of paths, with what their narinfos say', async () => {
  const whole = await output(0, 'info', healthy.cache);
  assert.match(whole, /: 5 paths, of which 3 roots nobody refers to$/m);
  assert.match(whole, /^ {2}signed by: test-1 5; 0 by nobody/m);
  assert.match(whole, /^ {2}Priority: 30$/m);
  const one = await output(0, 'info', healthy.cache, hashPart(lib));
  assert.match(one, new RegExp(`^${lib}\n  NAR: .*\n  file: nar/.*zstd`));
  assert.match(one, new RegExp(`^    ${base}$`, 'm'));
  const closure = events(await output(0, 'info', '--json', '--closure', healthy.cache, app));
  assert.deepEqual(
    closure.filter(each => each.type === 'path').map(each => each.path),
    [base, lib, app],
  );
  assert.deepEqual(closure[1]?.references, [base]);
});

/** A link as nix-build leaves one, to what is in no store here. */
const result = join(temporaryFolder(), 'result');
symlinkSync(app, result);

for (const [args, shows] of [
  [['info', healthy.cache, `${app}/bin`], new RegExp(`^${app}\n`)],
  [['info', healthy.cache, result], new RegExp(`^${app}\n`)],
  [['ls', healthy.cache, result], /bin\/\n$/],
  [['ls', healthy.cache, `${result}/bin`], /bin\/app\n/],
  [['cat', healthy.cache, `${result}/bin/app`], /^#!\/bin\/sh\n/],
  [['why', healthy.cache, `${result}/bin/app`, `${base}/share`], new RegExp(`└── ${base}\n`)],
  [['size', healthy.cache, result], new RegExp(app)],
  [['diff', healthy.cache, healthy.cache, result], /the same 3 paths/],
  [['verify', '--quick', healthy.cache, result], /: 3 paths/],
  [
    ['copy', '--dry-run', '--to', join(temporaryFolder(), 'new'), '--from', healthy.cache, result],
    /3 paths/,
  ],
] as const)
  test(`${args[0]} of a cache takes ${relative(result, args.at(-1)!) === '' ? 'a link' : args.at(-1)}`, async () => {
    assert.match(await output(0, ...args), shows);
  });

for (const command of ['info', 'ls', 'cat', 'size', 'verify'])
  test(`${command} says what is no path of the cache, and how to list it`, async () => {
    for (const [word, message] of [
      ['hello', new RegExp(`"hello" in the cache ${healthy.cache}: .*"granary info --all `)],
      [app.replace('/nix/', '/gnu/'), /leads to a store path in \/nix\/store/],
      ['nixpkgs#hello', /nix build --no-link --print-out-paths 'nixpkgs#hello'/],
    ] as const) {
      const { code, stderr } = await granary([command, healthy.cache, word]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });

test('--roots - reads standard input', async () => {
  const to = join(temporaryFolder(), 'new');
  for (const args of [
    ['diff', '--roots', '-', healthy.cache, healthy.cache],
    ['copy', '--roots', '-', '--from', healthy.cache, '--to', to],
  ]) {
    const child = startGranary(args, [], {}, 'pipe');
    child.stdin!.end(`# wanted\n${lib}\n\n`);
    const { code, stdout, stderr } = await ended(child);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /2 paths/);
  }
});

test('ls lists a folder, a file and a link, with a listing and without', async () => {
  const bare = patientOf();
  rmSync(bare.file(bare.key('app').replace('narinfo', 'ls')));
  for (const cache of [healthy.cache, bare.dir]) {
    assert.match(await output(0, 'ls', cache, app), /^d {14}- {2}bin\/\n$/);
    assert.match(
      await output(0, 'ls', cache, `${app}/bin`),
      /^- {12,13}\d\d\d? {2}bin\/app\nl {14}- {2}bin\/link -> app\n$/,
    );
    assert.match(await output(0, 'ls', '--recursive', cache, baseName(app)), /bin\/\n.*bin\/app\n/);
  }
  for (const [place, message] of [
    ['nothing', /-app\/nothing: there is no such entry/],
    ['bin/app/x', /-app\/bin\/app\/x: it lies below no folder/],
    ['../x', /it leads out of the path/],
  ] as const) {
    const { code, stderr } = await granary(['ls', healthy.cache, `${app}/${place}`]);
    assert.equal(code, 3);
    assert.match(stderr, message);
  }
});

test('cat gives the bytes of a file, through links, whatever the compression', async () => {
  const caches = [healthy.cache];
  for (const compression of ['none', 'xz', 'gzip', 'br']) {
    const to = join(temporaryFolder(), compression);
    const tree = join(temporaryFolder(), 'tree');
    writeFileSync(tree, 'plain content');
    await output(0, 'make', '--to', to, '--compression', compression, '--add', `${tree}=plain`);
    caches.push(to);
  }
  for (const cache of caches) assert.equal(await output(0, 'cat', cache, plain), 'plain content');
  const text = await output(0, 'cat', healthy.cache, `${app}/bin/link`);
  assert.match(text, /^#!\/bin\/sh\nexec /);
  assert.equal(await output(0, 'cat', healthy.cache, `${lib}/lib/other`), '');
  for (const [place, code, message] of [
    [`${app}/bin`, 2, new RegExp(`Cannot read ${app}/bin: it is a folder`)],
    [`${app}/bin/none`, 3, /there is no such entry/],
    [app, 2, new RegExp(`Cannot read ${app}: it is a folder`)],
    ['hello', 2, /neither is nor leads to a store path/],
  ] as const) {
    const ran = await granary(['cat', healthy.cache, place]);
    assert.equal(ran.code, code);
    assert.match(ran.stderr, message);
  }
});

test('cat --json is an object with the content, and a summary, if it is not too big', async () => {
  const tree = temporaryFolder();
  const bytes = Buffer.from([0xff, 0, 0x80, 10]);
  writeFileSync(join(tree, 'binary'), bytes);
  writeFileSync(join(tree, 'text'), 'sch\u00f6n\n');
  writeFileSync(join(tree, 'big'), Buffer.alloc((16 << 20) + 1));
  const to = join(temporaryFolder(), 'cache');
  await output(0, 'make', '--to', to, '--add', `${tree}=tree`);
  const path = String(events(await output(0, 'info', '--json', '--all', to))[0]!.path);
  for (const [name, size, encoding, content] of [
    ['binary', 4, 'base64', bytes.toString('base64')],
    ['text', 7, 'utf-8', 'sch\u00f6n\n'],
  ] as const)
    assert.deepEqual(events(await output(0, 'cat', '--json', to, `${path}/${name}`)), [
      { type: 'content', path, name, size, encoding, content },
      { type: 'summary', ok: true, exit: 0, path, size },
    ]);
  const [error] = events(await output(2, 'cat', '--json', to, `${path}/big`));
  assert.match(String(error!.message), /big in JSON: it has 16777217 bytes.*leave out --json/);
});

test('cat decompresses only the frames that it needs', async () => {
  const tree = join(temporaryFolder(), 'tree');
  const parts = [
    Buffer.alloc(5 << 20, 'a'),
    Buffer.from('in the middle'),
    Buffer.alloc(5 << 20, 'z'),
  ];
  mkdirSync(tree);
  for (const [at, part] of parts.entries()) writeFileSync(join(tree, `part${at}`), part);
  const to = join(temporaryFolder(), 'cache');
  await output(0, 'make', '--to', to, '--listings', '--add', `${tree}=parts`);
  const [summary] = events(await output(0, 'info', '--json', '--all', to));
  const path = String(summary!.path);
  assert.equal(await output(0, 'cat', to, `${path}/part1`), 'in the middle');
  // The first frame is spoilt: who has to decompress it fails.
  const file = join(to, String(summary!.url));
  const bytes = readFileSync(file);
  bytes.fill(0xff, 40, 60);
  writeFileSync(file, bytes);
  assert.equal(await output(0, 'cat', to, `${path}/part1`), 'in the middle');
  const { code } = await granary(['cat', to, `${path}/part0`]);
  assert.equal(code, 4);
});

test('why shows a chain of references, or that there is none', async () => {
  assert.equal(
    await output(0, 'why', healthy.cache, app, base),
    `${app}\n└── ${lib}\n    └── ${base}\n`,
  );
  assert.match(await output(1, 'why', healthy.cache, base, app), /does not need/);
});

test('size weighs roots, and with --tree what is below them', async () => {
  const text = await output(0, 'size', '--tree', healthy.cache);
  const [heading, first] = text.split('\n');
  assert.deepEqual(heading!.trim().split(/ +/), ['closure', 'files', 'only', 'paths', 'root']);
  assert.equal(first!.indexOf(app), heading!.indexOf('root'));
  assert.match(first!.slice(0, heading!.indexOf(' root')), / 3 $/);
  assert.match(text, new RegExp(`^ +[\\d.]+ k?B +[\\d.]+ k?B +[\\d.]+ k?B +3  ${app}$`, 'm'));
  assert.match(text, new RegExp(`${lib}\n.* {4}${base}$`, 'm'));
  const roots = events(await output(0, 'size', '--json', healthy.cache));
  const weight = roots.find(each => each.path === app)!;
  assert.equal(weight.paths, 3);
  assert.ok(Number(weight.closureSize) > Number(weight.narSize));
  const both = events(await output(0, 'size', '--json', healthy.cache, app, lib));
  const [heavy, light] = both;
  assert.equal(heavy!.path, app);
  assert.equal(light!.ownSize, 0, 'all of lib is in the closure of app too');
});

const storeRoot = temporaryFolder();
mkdirSync(join(storeRoot, 'nix/var/nix/db'), { recursive: true });

for (const [args, message] of [
  [['diff', healthy.cache, 'auto'], /"auto" as a cache: it means a store, and this takes a folder/],
  [['diff', 'daemon', healthy.cache], /"daemon" as a cache/],
  [['ls', 'ssh://me:secret@host', app], /"ssh:\/\/…@host" as a cache/],
  [['verify', 'local?root=/x'], /"local\?root=\/x" as a cache/],
  [['diff', storeRoot, healthy.cache], /write "local\?root=/],
  [['ls', storeRoot, app], /write "local\?root=/],
  [['verify', storeRoot], /write "local\?root=/],
  [['size', 's3://bucket?regoin=x'], /unknown parameter "regoin"; did you mean region=\?/],
] as const)
  test(`granary ${args.join(' ')} is usage`, async () => {
    const { code, stderr } = await granary(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  });

test('each says what is wrong with how it is called', async () => {
  for (const [args, message] of [
    [['diff', healthy.cache], /name two caches/],
    [['info'], /name the CACHE/],
    [['ls', healthy.cache], /name a CACHE and a PATH/],
    [['cat', healthy.cache], /name a CACHE and a file/],
    [['why', healthy.cache, app], /name a CACHE and two paths/],
    [['size'], /name the CACHE/],
  ] as const) {
    const { code, stderr } = await granary(args);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});
