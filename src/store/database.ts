/**
 * Nix's own database (`<state>/db/db.sqlite`), read-only, and never a stale answer.
 *
 * The database is in write-ahead-log mode, in which a plain reader wants to write beside it. So:
 * - a `-wal` file with something in it is there (a writer is alive, or was killed): a plain
 *   read-only open. `immutable` would miss the rows in the log.
 * - there is none: `immutable`, which touches nothing; afterwards no `-wal` may have come and the
 *   file must be the same, or the answer is thrown away. In this mode SQLite's change counter
 *   stands still, so it is the file's time that tells; and a file that has only just been written
 *   is let rest, since a write of the same moment might leave the same time.
 * This holds for root too: a plain open as root would leave files of root's in a user's store.
 * In any other journal mode a plain read-only open is right for everybody.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { GranaryError } from '../errors.ts';

/** How long a busy database is tried again. */
const patienceMs = 5000;
/** More than the clock of any file system lags behind. */
const tickMs = 20;
/** SQLite's BUSY, LOCKED, READONLY, IOERR, CANTOPEN and PROTOCOL: what a writer's steps can look like. */
const passing = new Set([5, 6, 8, 10, 14, 15]);

/**
 * What `query` finds in the database. It may be called again, so it must have no effects.
 *
 * @throws GranaryError `absent` when there is no database, `unavailable` when it cannot be read or
 * does not hold still
 */
export async function readDatabase<T>(file: string, query: (sql: DatabaseSync) => T): Promise<T> {
  let cause: unknown;
  const end = performance.now() + patienceMs;
  for (; performance.now() < end; await setTimeout(tickMs)) {
    try {
      const before = stampOf(file);
      const immutable = before.writeAheadLog && !hasLog(file);
      if (immutable && before.fresh) continue;
      const answer = ask(file, immutable, query);
      if (!immutable) return answer;
      if (!hasLog(file) && stampOf(file).text === before.text) return answer;
    } catch (error) {
      if (error instanceof GranaryError) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR')
        throw new GranaryError('absent', `Cannot find a Nix database at ${file}`, { file }, error);
      if (code === 'EACCES') throw unreadable(file, 'you may not read it', error);
      const { errcode } = error as { errcode?: number };
      if (errcode === undefined || !passing.has(errcode & 0xff))
        throw unreadable(file, (error as Error).message, error);
      cause = error; // most often a writer that came or went between two of our steps
    }
  }
  if (cause) throw unreadable(file, (cause as Error).message, cause);
  throw unreadable(file, 'it changed each time that it was read; try again when Nix is less busy');
}

/** Whether there are rows beside the file; an empty log, which some versions leave, has none. */
const hasLog = (file: string): boolean =>
  (statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0;

function ask<T>(file: string, immutable: boolean, query: (sql: DatabaseSync) => T): T {
  const url = pathToFileURL(file);
  if (immutable) url.searchParams.set('immutable', '1');
  const sql = new DatabaseSync(url, { readOnly: true, timeout: 1000 });
  try {
    sql.exec('BEGIN'); // all that the query asks is of one moment, whoever writes meanwhile
    return query(sql);
  } finally {
    sql.close();
  }
}

interface Stamp {
  /** What changes whenever the file does: size, time, and the counters of SQLite's other modes. */
  readonly text: string;
  readonly writeAheadLog: boolean;
  /** Whether the file was written so lately that its time may not tell of the next write. */
  readonly fresh: boolean;
}

function stampOf(file: string): Stamp {
  const { size, mtimeNs, mtimeMs, ino } = statSync(file, { bigint: true });
  const fd = openSync(file, 'r');
  try {
    const header = Buffer.alloc(100);
    readSync(fd, header, 0, header.length, 0);
    const counters =
      header.subarray(24, 28).toString('hex') + header.subarray(92, 96).toString('hex');
    return {
      text: `${ino} ${size} ${mtimeNs} ${counters}`,
      writeAheadLog: header[18] === 2,
      fresh: Math.abs(Date.now() - Number(mtimeMs)) < tickMs,
    };
  } finally {
    closeSync(fd);
  }
}

const unreadable = (file: string, why: string, cause?: unknown): GranaryError =>
  new GranaryError('unavailable', `Cannot read the Nix database ${file}: ${why}`, { file }, cause);
