import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { latin1 } from '../../src/bytes.ts';
import { printListing } from '../../src/format/nar-listing.ts';
import { ListingBuilder } from '../../src/format/nar-listing-builder.ts';
import { NarReader } from '../../src/format/nar-read.ts';
import type { NarEvent } from '../../src/format/nar-wire.ts';
import { dumpTree } from '../../src/store/filesystem.ts';
import { temporaryFolder } from '../temporary.ts';

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** The whole NAR of a tree, by blocks of a size; and its listing. */
function dump(root: string, size = 1 << 20): { nar: Buffer; listing: string } {
  const blocks: Buffer[] = [];
  const tree = dumpTree(latin1(Buffer.from(root)), {
    block: () => Buffer.alloc(size),
    listing: true,
  });
  for (;;) {
    const step = tree.next();
    if (step.done) return { nar: Buffer.concat(blocks), listing: printListing(step.value) };
    blocks.push(step.value);
  }
}

function eventsOf(nar: Buffer): NarEvent[] {
  const reader = new NarReader();
  const events = [...reader.push(nar)];
  reader.end();
  assert.equal(reader.offset, nar.length);
  return events;
}

/** A tree with all that is awkward. */
function awkward(): string {
  const root = join(temporaryFolder(), 'tree');
  mkdirSync(join(root, 'empty folder'), { recursive: true });
  writeFileSync(join(root, 'empty'), '');
  writeFileSync(join(root, ')'), 'x'.repeat(8));
  writeFileSync(join(root, 'ő'), 'y'.repeat(1000));
  writeFileSync(Buffer.concat([Buffer.from(`${root}/`), bytesOf('bad \xff byte')]), 'z');
  writeFileSync(join(root, 'n'.repeat(255)), 'w');
  writeFileSync(join(root, 'run'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(root, 'groupexec'), 'x', { mode: 0o654 });
  symlinkSync('nowhere', join(root, 'dangling'));
  symlinkSync('../..', join(root, 'up'));
  mkdirSync(join(root, 'a/b/c'), { recursive: true });
  writeFileSync(join(root, 'a/b/c/deep'), 'd'.repeat(123));
  writeFileSync(join(root, 'a.b'), 'sorts before a/ and after a');
  return root;
}

test('a NAR reads back as the tree, whatever the size of the blocks', () => {
  const root = awkward();
  const { nar, listing } = dump(root);
  const builder = new ListingBuilder();
  builder.push(eventsOf(nar));
  assert.equal(printListing(builder.root!), listing);
  assert.match(listing, /bad \xff byte/);
  for (let size = 8; size <= 400; size += 8) {
    const again = dump(root, size);
    assert.ok(again.nar.equals(nar), `blocks of ${size}`);
    assert.equal(again.listing, listing);
  }
});

test("only the owner's x makes a file executable", () => {
  const files = eventsOf(dump(awkward()).nar).filter(event => event.type === 'file');
  const executable = files.filter(file => file.executable).map(file => file.name);
  assert.deepEqual(executable, ['run']);
});

test('all blocks but the last are full', () => {
  const root = join(temporaryFolder(), 'file');
  writeFileSync(root, Buffer.alloc(100_000, 7));
  const sizes = [...dumpTree(root, { block: () => Buffer.alloc(4096), listing: false })].map(
    b => b.length,
  );
  assert.ok(sizes.slice(0, -1).every(size => size === 4096) && sizes.at(-1)! > 0);
});

const refused = (code: string, message: RegExp) => ({ name: 'GranaryError', code, message });

test('a named pipe is malformed, with its place in the tree', () => {
  const root = join(temporaryFolder(), 'tree');
  mkdirSync(join(root, 'in'), { recursive: true });
  assert.equal(spawnSync('mkfifo', [join(root, 'in/pipe')]).status, 0);
  assert.throws(
    () => dump(root),
    refused('malformed', /"in\/pipe" of .*tree into a NAR: it is a named pipe/),
  );
});

test('a socket is malformed, with its place in the tree', async () => {
  const root = join(temporaryFolder(), 't');
  mkdirSync(root);
  const server = createServer();
  await new Promise<void>(done => server.listen(join(root, 's'), done));
  assert.throws(() => dump(root), refused('malformed', /"s" of .*: it is a socket/));
  await new Promise(done => server.close(done));
});

test('a device is malformed', () => {
  assert.throws(() => dump('/dev/null'), refused('malformed', /it is a device/));
});

test('63 folders in each other are fine, 64 are malformed', () => {
  const root = join(temporaryFolder(), 'r');
  mkdirSync(join(root, ...Array.from({ length: 63 }, () => 'd')), { recursive: true });
  assert.ok(dump(root).nar.length > 0);
  writeFileSync(join(root, ...Array.from({ length: 63 }, () => 'd'), 'f'), '');
  assert.throws(() => dump(root), refused('malformed', /nested too deep/));
});

test('a path longer than the system opens is unavailable, in a sentence', () => {
  const root = temporaryFolder();
  const before = process.cwd();
  try {
    process.chdir(root);
    for (let depth = 0; depth < 20; depth++) {
      mkdirSync('n'.repeat(250));
      process.chdir('n'.repeat(250));
    }
  } finally {
    process.chdir(before);
  }
  assert.throws(() => dump(root), refused('unavailable', /longer than this system can open$/));
});

/** Does something to the tree after its first block was read. */
function whileRead(root: string, change: () => void): () => void {
  return () => {
    const tree = dumpTree(root, { block: () => Buffer.alloc(4096), listing: false });
    tree.next();
    change();
    for (const _ of tree);
  };
}

function bigFile(): string {
  const file = join(temporaryFolder(), 'big');
  writeFileSync(file, Buffer.alloc(50_000, 1));
  return file;
}

test('a file that shrinks while it is read is corrupt', () => {
  const file = bigFile();
  assert.throws(
    whileRead(file, () => truncateSync(file, 20_000)),
    refused('corrupt', /changed while/),
  );
});

test('a file that grows while it is read is corrupt', () => {
  const file = bigFile();
  assert.throws(
    whileRead(file, () => appendFileSync(file, 'more')),
    refused('corrupt', /changed while/),
  );
});

test('a tree that vanishes while it is read is absent', () => {
  const root = join(temporaryFolder(), 'tree');
  mkdirSync(root);
  writeFileSync(join(root, 'a'), Buffer.alloc(9000));
  writeFileSync(join(root, 'b'), 'b');
  assert.throws(
    whileRead(root, () => rmSync(root, { recursive: true })),
    refused('absent', /"b" of .*not there/),
  );
});

test('a link put in the place of a file is not followed', () => {
  const root = join(temporaryFolder(), 'tree');
  mkdirSync(root);
  writeFileSync(join(root, 'a'), Buffer.alloc(9000));
  writeFileSync(join(root, 'b'), 'b');
  const swap = (): void => {
    renameSync(join(root, 'b'), join(root, 'c'));
    symlinkSync('/etc/passwd', join(root, 'b'));
  };
  const links: NarEvent[] = [];
  const tree = dumpTree(root, { block: () => Buffer.alloc(4096), listing: false });
  const blocks = [tree.next().value as Buffer];
  swap();
  for (const block of tree) blocks.push(block);
  for (const event of eventsOf(Buffer.concat(blocks)))
    if (event.type === 'symlink') links.push(event);
  assert.deepEqual(links, [{ type: 'symlink', name: 'b', target: '/etc/passwd' }]);
});

test('nothing at all is absent', () => {
  assert.throws(
    () => dump('/no/such/tree'),
    refused('absent', /"\." of \/no\/such\/tree: it is not there/),
  );
});
