import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { directoryStorage } from '../../src/storage/directory.ts';
import { openStorage } from '../../src/storage/open.ts';
import { openSpool, spooled } from '../../src/storage/spool.ts';
import { bodyOf } from '../../src/storage/storage.ts';
import { temporaryFolder } from '../temporary.ts';
import { storageLaws } from './conformance.ts';

storageLaws('directory', async () => directoryStorage(join(temporaryFolder(), 'cache')));
storageLaws('directory without flush', async () =>
  directoryStorage(temporaryFolder(), { flush: false }),
);

test('a put whose last bytes the disk takes in part, and then no more, fails', () => {
  const root = temporaryFolder();
  const module = pathToFileURL(join(import.meta.dirname, '../../src/storage/directory.ts'));
  const script = `
    const { directoryStorage } = await import(${JSON.stringify(module.href)});
    const bytes = Buffer.alloc(310 * 1024, 1);
    const put = directoryStorage(${JSON.stringify(root)}, { flush: false }).put('nar/a', { size: bytes.length, open: () => [bytes] });
    console.log(await put.then(() => 'put', error => error.code));`;
  const limited = ['-c', 'ulimit -f 300; exec "$@"', 'bash', process.execPath];
  const ran = spawnSync('bash', [...limited, '--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.equal(ran.stdout.trim(), 'unavailable', ran.stderr);
  assert.deepEqual(readdirSync(join(root, 'nar')), []);
});

test('a spool file is moved into its place, not copied', async () => {
  const root = temporaryFolder();
  const storage = directoryStorage(root);
  using spool = openSpool(storage);
  const name = spool.name('nar/x.nar');
  writeFileSync(name, 'content');
  await storage.put('nar/y.nar', spooled(name, 7));
  assert.ok(!existsSync(name));
  assert.deepEqual(readdirSync(join(root, 'nar')), ['y.nar']);
});

test('what is left in a spool goes with it', () => {
  const root = temporaryFolder();
  {
    using spool = openSpool(directoryStorage(root));
    writeFileSync(spool.name('nar/x.nar'), 'half');
  }
  assert.deepEqual(readdirSync(join(root, 'nar')), []);
});

test('law 6: only temporaries of dead writers are swept', async () => {
  const root = temporaryFolder();
  mkdirSync(join(root, 'nar'));
  const dead = spawnSync(process.execPath, ['-p', 'process.pid']).stdout.toString().trim();
  const storage = directoryStorage(root);
  const own = storage.spool?.('nar/own.nar') ?? '';
  const host = /\.tmp-(.+)-\d+-\d+$/.exec(own)?.[1];
  const files = {
    own: own.slice(root.length + 1),
    'of a living process': `nar/a.nar.tmp-${host}-${process.ppid}-3`,
    'of another host, fresh': `nar/b.nar.tmp-elsewhere.1-${dead}-0`,
    'of another host, a day old': 'nar/c.nar.tmp-elsewhere.1-1-0',
    'of a dead process': `nar/d.nar.tmp-${host}-${dead}-0`,
    'of a dead process, beside a narinfo': `x.narinfo.tmp-${host}-${dead}-12`,
    "Nix's own": 'nar/e.nar.tmp.1234.0',
    'a plain file': 'nar/f.nar',
  };
  for (const file of Object.values(files)) writeFileSync(join(root, file), 'half');
  const old = Date.now() / 1000 - 25 * 3600;
  utimesSync(join(root, files['of another host, a day old']), old, old);
  utimesSync(join(root, files['a plain file']), old, old);
  utimesSync(join(root, files["Nix's own"]), old, old);
  assert.equal(await storage.sweep?.(), 3);
  const left = Object.entries(files).filter(([, file]) => existsSync(join(root, file)));
  assert.deepEqual(
    left.map(([what]) => what),
    ['own', 'of a living process', 'of another host, fresh', "Nix's own", 'a plain file'],
  );
});

test('a named pipe under a key is absent, and hangs nobody', async () => {
  const root = temporaryFolder();
  assert.equal(spawnSync('mkfifo', [join(root, 'x.narinfo')]).status, 0);
  const storage = directoryStorage(root);
  assert.equal(await storage.get('x.narinfo'), undefined);
  assert.equal(await storage.head('x.narinfo'), undefined);
});

test('free tells bytes even before the folder exists', async () => {
  const storage = directoryStorage(join(temporaryFolder(), 'not/yet/there'));
  assert.ok(((await storage.free?.()) ?? 0) > 0);
});

test('openStorage takes a bare path or a file:// URL, percent-decoded', async () => {
  const root = join(temporaryFolder(), 'a b+c');
  await openStorage(`${pathToFileURL(root).href}?trusted=true`).put('x', bodyOf('1'));
  assert.deepEqual(readdirSync(root), ['x']);
  assert.equal(openStorage(root).url, root);
});

const plainFile = (): string => {
  const name = join(temporaryFolder(), 'file');
  writeFileSync(name, '');
  return name;
};
for (const [what, name] of Object.entries<() => string>({
  'a file': plainFile,
  nothing: () => '',
  'another scheme': () => 'gopher://x/y',
  'a host in file://': () => 'file://host/path',
}))
  test(`openStorage refuses ${what} as usage`, () => {
    assert.throws(() => openStorage(name()), { name: 'GranaryError', code: 'usage' });
  });

test('nothing is put through a folder that is a link out of the storage', async () => {
  const [root, elsewhere] = [temporaryFolder(), temporaryFolder()];
  symlinkSync(elsewhere, join(root, 'nar'));
  const storage = directoryStorage(root);
  await assert.rejects(storage.put('nar/x', bodyOf('x')), { code: 'usage', message: /is a link/ });
  assert.throws(() => storage.spool!('nar/x'), { code: 'usage' });
  assert.deepEqual(readdirSync(elsewhere), []);
});

test('a link is no value: what it leads to is not given out, and a put takes its place', async () => {
  const [root, elsewhere] = [temporaryFolder(), join(temporaryFolder(), 'secret')];
  writeFileSync(elsewhere, 'secret');
  mkdirSync(join(root, 'log'));
  symlinkSync(elsewhere, join(root, 'log/x.drv'));
  const storage = directoryStorage(root);
  assert.deepEqual(
    [await storage.head('log/x.drv'), await storage.get('log/x.drv')],
    [undefined, undefined],
  );
  await storage.put('log/x.drv', bodyOf('built'));
  assert.equal((await storage.head('log/x.drv'))?.size, 5);
  assert.equal(readFileSync(elsewhere, 'utf8'), 'secret');
});

test('a name that fills a file name leaves room for its temporary', async () => {
  const storage = directoryStorage(temporaryFolder());
  const key = `log/${'x'.repeat(251)}.drv`;
  await storage.put(key, bodyOf('built'));
  assert.equal((await storage.head(key))?.size, 5);
});

test('however many spools there are, one listener cleans up', () => {
  const before = process.listenerCount('exit');
  const storage = directoryStorage(temporaryFolder());
  const spools = Array.from({ length: 20 }, () => openSpool(storage));
  assert.equal(process.listenerCount('exit'), before + 1);
  for (const spool of spools) spool[Symbol.dispose]();
  assert.equal(process.listenerCount('exit'), before);
});
