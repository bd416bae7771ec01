/** Nix's database, read while nobody, somebody alive or somebody dead is writing it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { readDatabase } from '../../src/store/database.ts';
import { openStore } from '../../src/store/open.ts';
import { client, scratch } from '../clients/kept.ts';
import { ages, freshStore, nix, whyNoClients } from '../clients/nix.ts';
import { execute, type Result } from '../clients/process.ts';
import { copyForClients } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';

const count = (sql: DatabaseSync): number =>
  (sql.prepare('SELECT count(*) AS count FROM ValidPaths').get() as { count: number }).count;
const insert = (sql: DatabaseSync, path: string): void => {
  sql.prepare('INSERT INTO ValidPaths (path) VALUES (?)').run(path);
};

/** A database as Nix makes it, with `rows` rows in the file itself and nothing beside it. */
function database(folder: string, rows: number, mode = 'wal'): string {
  const file = join(folder, 'db.sqlite');
  const sql = new DatabaseSync(file);
  sql.exec(
    `PRAGMA journal_mode = ${mode}; CREATE TABLE ValidPaths (id INTEGER PRIMARY KEY, path TEXT)`,
  );
  for (let row = 0; row < rows; row++) insert(sql, `/p${row}`);
  sql.close();
  return file;
}

/** A process that has committed `rows` more rows, which are in the log alone, and lives on. */
async function livingWriter(file: string, rows: number): Promise<ChildProcess> {
  const script = `
    const { DatabaseSync } = require('node:sqlite');
    const sql = new DatabaseSync(${JSON.stringify(file)});
    sql.exec('PRAGMA wal_autocheckpoint = 0');
    for (let row = 0; row < ${rows}; row++) sql.exec("INSERT INTO ValidPaths (path) VALUES ('/w" + row + "')");
    console.log('ready');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--no-warnings', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

/** Counts the rows as whoever runs the tests, and as an ordinary user who may write nothing there. */
async function countAsBoth(file: string): Promise<number[]> {
  const own = await readDatabase(file, count);
  if (!client) return [own];
  const { stdout, stderr, code } = await asClient(file, 'error => { throw error; }');
  assert.equal(code, 0, stderr);
  return [own, Number(stdout)];
}

const copy = client && copyForClients();

/** Counts the rows as an ordinary user, and prints that, or what `otherwise` makes of the error. */
function asClient(file: string, otherwise: string): Promise<Result> {
  const script = `
    import { readDatabase } from ${JSON.stringify(join(copy!.folder, 'src/store/database.ts'))};
    const count = sql => sql.prepare('SELECT count(*) AS count FROM ValidPaths').get().count;
    console.log(await readDatabase(${JSON.stringify(file)}, count).catch(${otherwise}));`;
  const argv = [copy!.node, '--no-warnings', '--input-type=module', '-e', script];
  return execute(argv, { user: client });
}

/** What lies beside the database, and when it was last changed. */
const surroundings = (folder: string): string[] =>
  readdirSync(folder)
    .sort()
    .map(name => `${name} ${name.endsWith('-shm') ? '' : statSync(join(folder, name)).mtimeMs}`);

test('with nobody writing: right for everybody, and nothing is left beside it', async () => {
  const folder = temporaryFolder();
  const file = database(folder, 3);
  const before = surroundings(folder);
  assert.deepEqual(before.length, 1, 'no log to begin with');
  for (const rows of await countAsBoth(file)) assert.equal(rows, 3);
  assert.deepEqual(surroundings(folder), before);
});

test('with a living writer: the rows that are in its log alone are seen by everybody', async () => {
  const folder = temporaryFolder();
  const file = database(folder, 3);
  const writer = await livingWriter(file, 4);
  try {
    const before = surroundings(folder);
    for (const rows of await countAsBoth(file)) assert.equal(rows, 7);
    assert.deepEqual(surroundings(folder), before);
  } finally {
    await end(writer);
  }
});

test('after a writer was killed: the rows in the log that it left are seen by everybody', async () => {
  const folder = temporaryFolder();
  const file = database(folder, 3);
  await end(await livingWriter(file, 4));
  assert.ok(statSync(`${file}-wal`).size > 0);
  const before = surroundings(folder);
  for (const rows of await countAsBoth(file)) assert.equal(rows, 7);
  assert.deepEqual(surroundings(folder), before, 'the log is for the next writer to put away');
});

test('a writer that comes and goes while we read makes us read again: never a stale answer', async () => {
  const file = database(temporaryFolder(), 3);
  let attempts = 0;
  const rows = await readDatabase(file, sql => {
    attempts += 1;
    const seen = count(sql);
    if (attempts === 1) {
      const other = new DatabaseSync(file); // its close moves the rows from the log into the file
      insert(other, '/new');
      other.close();
    }
    return seen;
  });
  assert.deepEqual([rows, attempts], [4, 2]);
});

test('a file that was just written is let rest: two writes of one moment could look alike', async () => {
  const file = database(temporaryFolder(), 3);
  const age = await readDatabase(file, () => Date.now() - statSync(file).mtimeMs);
  assert.ok(age >= 20, `read ${age} ms after it was written`);
});

test('a writer that comes while we read and stays makes us read again', async () => {
  const file = database(temporaryFolder(), 3);
  let other: DatabaseSync | undefined;
  const rows = await readDatabase(file, sql => {
    const seen = count(sql);
    if (!other) {
      other = new DatabaseSync(file);
      insert(other, '/new');
    }
    return seen;
  });
  other?.close();
  assert.equal(rows, 4);
});

for (const mode of ['wal', 'delete'])
  test(`all that one query asks is of one moment, in journal mode ${mode}`, async () => {
    const file = database(temporaryFolder(), 3, mode);
    const other = new DatabaseSync(file, { timeout: 0 });
    insert(other, '/before'); // in WAL mode there is a log now
    const counts = await readDatabase(file, sql => {
      const first = count(sql);
      try {
        insert(other, '/between');
      } catch (error) {
        assert.match((error as Error).message, /locked/); // a journal makes writers wait for us
      }
      return [first, count(sql)];
    });
    other.close();
    assert.deepEqual(counts, [4, 4]);
  });

describe('after all its tries', { concurrency: true }, () => {
  test('a database that never holds still is unavailable, not wrong', async () => {
    const file = database(temporaryFolder(), 1);
    let round = 0;
    const restless = readDatabase(file, sql => {
      const other = new DatabaseSync(file);
      insert(other, `/new${round++}`);
      other.close();
      return count(sql);
    });
    await assert.rejects(restless, {
      name: 'GranaryError',
      code: 'unavailable',
      message: /changed each time/,
    });
  });

  test('an ordinary user, who cannot index the log of a dead writer anew, gets no stale answer', {
    skip: client ? false : 'needs root to become somebody who may not write there',
  }, async () => {
    const folder = temporaryFolder();
    const file = database(folder, 3);
    await end(await livingWriter(file, 4));
    rmSync(`${file}-shm`);
    for (const name of readdirSync(folder)) chownSync(join(folder, name), 1234, 1234);
    const { stdout } = await asClient(file, `error => error.code + ' ' + error.message`);
    assert.match(stdout, /^unavailable Cannot read the Nix database /);
    assert.equal(await readDatabase(file, count), 7, 'root may, and leaves nothing of its own');
    for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).uid, 1234);
  });
});

test('a database in rollback mode is read too', async () => {
  for (const rows of await countAsBoth(database(temporaryFolder(), 5, 'delete')))
    assert.equal(rows, 5);
});

test('no database is absent, garbage and the unreadable are unavailable, each naming the file', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'db.sqlite');
  const named = (code: string) => (error: Error & { code: string }) => {
    assert.equal(error.code, code, error.message);
    assert.ok(error.message.includes(file), error.message);
    return true;
  };
  await assert.rejects(readDatabase(file, count), named('absent'));
  writeFileSync(
    file,
    'not a database at all, but long enough to have a header of a hundred bytes and then some more bytes',
  );
  await assert.rejects(readDatabase(file, count), named('unavailable'));
});

test('a database that an ordinary user may not read is unavailable', {
  skip: client ? false : 'needs root to make a file that the reader may not read',
}, async () => {
  const folder = temporaryFolder();
  const file = database(folder, 1);
  chmodSync(file, 0o600);
  const { stdout } = await asClient(file, `error => error.code + ' ' + error.message`);
  assert.match(stdout, /^unavailable Cannot read the Nix database .*: you may not read it/);
});

const skip = await whyNoClients();
for (const age of ages)
  test(`real Nix (${age}) registers paths while we read: what was there before is always seen`, {
    skip,
  }, async () => {
    const store = freshStore();
    const folder = scratch();
    const client = await nix(age);
    const added: string[] = [];
    const reader = openStore(store.url);
    let reading = true;
    const writer = (async () => {
      for (let round = 0; reading; round++) {
        const file = join(folder, `file-${round}`);
        mkdirSync(file);
        added.push((await client.check('nix-store', ['--add', file], { store })).trim());
      }
    })();
    try {
      for (let reads = 0; reads < 100; ) {
        await new Promise(resolve => setTimeout(resolve, 3));
        const before = added.map(path => reader.pathOf(path)!);
        if (before.length === 0) continue;
        const seen = await reader.closure!(before);
        assert.deepEqual(
          before.filter(path => !seen.has(path)),
          [],
        );
        reads += 1;
      }
    } finally {
      reading = false;
      await writer;
    }
  });
