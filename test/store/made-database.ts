/** A database such as Nix makes, with rows that Nix might not write. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface Row {
  readonly path: string;
  readonly hash: string;
  readonly narSize?: number;
  readonly deriver?: string;
  readonly sigs?: string;
  readonly ca?: string;
}

const schema = `
  CREATE TABLE ValidPaths (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    path TEXT UNIQUE NOT NULL, hash TEXT NOT NULL, registrationTime INTEGER NOT NULL,
    deriver TEXT, narSize INTEGER, ultimate INTEGER, sigs TEXT, ca TEXT);
  CREATE TABLE Refs (referrer INTEGER NOT NULL, reference INTEGER NOT NULL,
    PRIMARY KEY (referrer, reference))`;

/** Makes it in a state directory. `references` are the first row's, as numbers of rows from 1. */
export function makeDatabase(
  state: string,
  rows: readonly Row[],
  references: readonly number[] = [],
): void {
  mkdirSync(join(state, 'db'), { recursive: true });
  const sql = new DatabaseSync(join(state, 'db/db.sqlite'), { enableForeignKeyConstraints: false });
  sql.exec(`PRAGMA journal_mode = wal; BEGIN; ${schema}`);
  const insert = sql.prepare(`INSERT INTO ValidPaths
    (path, hash, registrationTime, deriver, narSize, sigs, ca) VALUES (?, ?, 1, ?, ?, ?, ?)`);
  for (const { path, hash, deriver, narSize, sigs, ca } of rows)
    insert.run(path, hash, deriver ?? null, narSize ?? null, sigs ?? null, ca ?? null);
  for (const reference of references) sql.exec(`INSERT INTO Refs VALUES (1, ${reference})`);
  sql.exec('COMMIT');
  sql.close();
}
