/** A Nix store on this machine: infos from Nix's database, content from the file system. */
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { latin1 } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from '../format/content-address.ts';
import { parseHash } from '../format/hash.ts';
import type { PathInfo } from '../format/path-info.ts';
import { parseSignature } from '../format/signature.ts';
import { baseName, parseStorePath, type StoreDir, type StorePath } from '../format/store-path.ts';
import { logFileIn } from './build-log.ts';
import { readDatabase } from './database.ts';
import { realisationsIn } from './realisations.ts';
import { pathWithin } from './roots.ts';
import type { Store } from './store.ts';

/** Where a local store has its parts. */
export interface LocalPlaces {
  readonly storeDir: StoreDir;
  /** The directory that really holds the files: another than storeDir in a chroot store. */
  readonly real: string;
  /** Nix's state directory, in which `db/db.sqlite` lies. */
  readonly state: string;
  /** Where Nix keeps logs. */
  readonly log?: string;
  /** The chroot store's root, if it is one. */
  readonly root?: string;
}

export function localStore(places: LocalPlaces): Store {
  const { storeDir, real, state } = places;
  const file = join(state, 'db/db.sqlite');
  const realLatin1 = latin1(Buffer.from(real));
  const closure = (roots: readonly StorePath[]): Promise<ReadonlyMap<StorePath, PathInfo>> =>
    readDatabase(file, sql => closureIn(sql, roots, storeDir));
  return {
    url: places.root === undefined ? real : `local?root=${places.root}`,
    storeDir,
    closure,
    about: () =>
      readDatabase(file, sql => {
        const row = sql.prepare('SELECT count(*) AS paths FROM ValidPaths').get();
        return { database: file, paths: Number(row!.paths) };
      }),
    info: path => readDatabase(file, sql => infoIn(sql, path, storeDir)),
    advice: path => `repair it with "nix-store --repair-path ${path}"`,
    byHashPart: hash => readDatabase(file, sql => infoByHash(sql, hash, storeDir)),
    realisations: paths => readDatabase(file, sql => realisationsIn(sql, paths, storeDir)),
    log: derivation => places.log && logFileIn(places.log, derivation),
    content: path => ({ tree: `${realLatin1}/${baseName(path)}` }),
    pathOf: name => pathWithin(name, real, storeDir) ?? pathWithin(name, storeDir, storeDir),
  };
}

interface Row {
  readonly id: number;
  readonly path: string;
  readonly hash: string;
  readonly narSize: number | null;
  readonly deriver: string | null;
  readonly sigs: string | null;
  readonly ca: string | null;
}

const columns = 'id, path, hash, narSize, deriver, sigs, ca';

const reachable = `WITH RECURSIVE closure(id) AS (
  SELECT id FROM ValidPaths WHERE path IN (SELECT value FROM json_each(?))
  UNION SELECT reference FROM Refs JOIN closure ON referrer = closure.id)`;

function closureIn(
  sql: DatabaseSync,
  roots: readonly StorePath[],
  storeDir: StoreDir,
): Map<StorePath, PathInfo> {
  const rows = sql
    .prepare(
      `${reachable} SELECT ${columns}, (SELECT group_concat(reference) FROM Refs WHERE referrer = id) AS refs
        FROM closure JOIN ValidPaths USING (id)`,
    )
    .all(JSON.stringify(roots)) as unknown as (Row & { readonly refs: string | null })[];
  const paths = new Map(rows.map(row => [row.id, parseStorePath(row.path, storeDir)]));
  return new Map(
    rows.map(row => {
      const path = paths.get(row.id)!;
      const references = (row.refs?.split(',') ?? []).map(id => {
        const reference = paths.get(Number(id));
        if (!reference) throw dangling(path);
        return reference;
      });
      return [path, infoFrom(row, path, references.sort(), storeDir)];
    }),
  );
}

function infoIn(sql: DatabaseSync, path: StorePath, storeDir: StoreDir): PathInfo | undefined {
  const row = sql.prepare(`SELECT ${columns} FROM ValidPaths WHERE path = ?`).get(path) as
    | Row
    | undefined;
  if (!row) return undefined;
  const references = sql
    .prepare('SELECT path FROM Refs LEFT JOIN ValidPaths ON reference = id WHERE referrer = ?')
    .all(row.id) as { path: string | null }[];
  const parsed = references.map(reference => {
    if (reference.path === null) throw dangling(path);
    return parseStorePath(reference.path, storeDir);
  });
  return infoFrom(row, path, parsed.sort(), storeDir);
}

/** Nix's foreign keys forbid it: to leave the reference out would be to make a wrong path info. */
const dangling = (path: StorePath): GranaryError =>
  new GranaryError(
    'corrupt',
    `Cannot use what the Nix database says of ${path}: it refers to a row that is not there`,
    { path },
  );

function infoByHash(sql: DatabaseSync, hash: string, storeDir: StoreDir): PathInfo | undefined {
  const prefix = `${storeDir}/${hash}-`;
  const row = sql.prepare('SELECT path FROM ValidPaths WHERE path >= ? LIMIT 1').get(prefix) as
    | { path: string }
    | undefined;
  if (!row?.path.startsWith(prefix)) return undefined;
  return infoIn(sql, parseStorePath(row.path, storeDir), storeDir);
}

function infoFrom(
  row: Row,
  path: StorePath,
  references: readonly StorePath[],
  storeDir: StoreDir,
): PathInfo {
  try {
    return parsedRow(row, path, references, storeDir);
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const { message, facts } = error;
    const what = `Cannot read what the Nix database says of ${path}: ${message}`;
    throw new GranaryError('malformed', what, { ...facts, path }, error);
  }
}

function parsedRow(
  row: Row,
  path: StorePath,
  references: readonly StorePath[],
  storeDir: StoreDir,
): PathInfo {
  return {
    path,
    narHash: parseHash(row.hash, 'hash'),
    narSize: row.narSize ?? 0,
    references,
    ...(row.deriver ? { deriver: parseStorePath(row.deriver, storeDir) } : {}),
    ...(row.ca ? { ca: parseContentAddress(row.ca) } : {}),
    signatures: row.sigs
      ? latin1(Buffer.from(row.sigs)).split(' ').filter(Boolean).map(parseSignature)
      : [],
  };
}
