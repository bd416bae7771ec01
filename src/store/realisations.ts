/** The realisations in Nix's database, in the tables that Nix has made since 2.4 where `ca-derivations` was enabled. */
import type { DatabaseSync } from 'node:sqlite';
import { GranaryError } from '../errors.ts';
import type { Realisation } from '../format/realisation.ts';
import { parseSignature } from '../format/signature.ts';
import { parseStorePath, type StoreDir, type StorePath } from '../format/store-path.ts';

interface Row {
  readonly id: number;
  readonly drvPath: string;
  readonly outputName: string;
  readonly path: string;
  readonly signatures: string | null;
}

/** Those that are of some paths, and depend on such alone; of two of one output the older, as Nix does. */
export function realisationsIn(
  sql: DatabaseSync,
  paths: readonly StorePath[],
  storeDir: StoreDir,
): readonly Realisation[] {
  const tables = sql
    .prepare(`SELECT name FROM sqlite_master WHERE name IN ('Realisations', 'RealisationsRefs')`)
    .all();
  if (tables.length < 2) return [];
  const rows = sql
    .prepare(
      `SELECT r.id, r.drvPath, r.outputName, r.signatures, v.path FROM Realisations r
        JOIN ValidPaths v ON v.id = r.outputPath
        WHERE v.path IN (SELECT value FROM json_each(?)) ORDER BY r.id`,
    )
    .all(JSON.stringify(paths)) as unknown as Row[];
  const referred = sql.prepare(
    'SELECT realisationReference AS id FROM RealisationsRefs WHERE referrer = ?',
  );
  const rowOf = new Map(rows.map(row => [row.id, row]));
  const found = new Map<string, Realisation>();
  for (const row of rows) {
    const those = referred.all(row.id).map(({ id }) => rowOf.get(id as number));
    const isWhole = those.every(other => other !== undefined);
    if (!isWhole || found.has(idOf(row))) continue;
    found.set(idOf(row), read(row, those, storeDir));
  }
  for (let before = -1; before !== found.size; ) {
    before = found.size; // what depends on one that is left out is left out
    for (const [id, { dependsOn }] of found)
      if ([...dependsOn.keys()].some(other => !found.has(other))) found.delete(id);
  }
  return [...found.values()];
}

const idOf = ({ drvPath, outputName }: Row): string => `${drvPath}!${outputName}`;

function read(row: Row, dependsOn: readonly Row[], storeDir: StoreDir): Realisation {
  try {
    return {
      id: idOf(row),
      path: parseStorePath(row.path, storeDir),
      dependsOn: new Map(
        dependsOn.map(other => [idOf(other), parseStorePath(other.path, storeDir)]),
      ),
      signatures: (row.signatures ?? '').split(' ').filter(Boolean).map(parseSignature),
    };
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const what = `Cannot read the realisation of ${row.path} in the Nix database: ${error.message}`;
    throw new GranaryError('malformed', what, { path: row.path }, error);
  }
}
