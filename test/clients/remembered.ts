/**
 * What Nix makes of caches, as exact as it can be known: it is made to take each for a cache behind
 * HTTP, since what it reads there it remembers in a database of its own, field by field and byte by byte.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { latin1 } from '../../src/bytes.ts';
import { each } from '../../src/flow/each.ts';
import { scratch } from './kept.ts';
import { freshStore, type Nix } from './nix.ts';
import type { Result } from './process.ts';

interface Asked {
  /** All that the cache has: texts by their keys, as latin-1. */
  readonly files: Readonly<Record<string, string>>;
  /** What is asked of Nix; the cache itself follows, as its last argument. */
  readonly args: readonly string[];
}

/** A column's value by its name, as latin-1, numbers as they are printed. */
type Row = Readonly<Record<string, string>>;

/** Columns of Nix's tables of caches, and of the narinfos in them. */
interface Wanted {
  readonly from: string;
  readonly columns: readonly string[];
}

interface Answered extends Result {
  readonly row: Row | undefined;
}

/** Asks about each cache in a process of its own; an answer's row is that of the cache in `from`. */
export async function askedOf(
  newest: Nix,
  asked: readonly Asked[],
  wanted: Wanted,
): Promise<Answered[]> {
  const [store, dir] = [freshStore(), scratch()];
  const env = { _NIX_FORCE_HTTP: '1' };
  const urls = asked.map((_, at) => `file://${join(dir, String(at))}`);
  const results: Result[] = [];
  await each(asked.entries(), 2, async ([at, { files, args }]) => {
    const cache = join(dir, String(at));
    mkdirSync(cache);
    for (const [key, text] of Object.entries(files))
      writeFileSync(join(cache, key), text, 'latin1');
    results[at] = await newest.run('nix', [...args, '--store', urls[at]!], { store, env });
  });
  const rows = rowsIn(join(store.home, '.cache/nix'), wanted);
  return results.map((result, at) => ({ ...result, row: rows.get(urls[at]!) }));
}

/** What Nix remembers, by the address of the cache. */
function rowsIn(folder: string, { from, columns }: Wanted): ReadonlyMap<string, Row> {
  const file = readdirSync(folder).find(name => /^binary-cache-v\d+\.sqlite$/.test(name));
  using database = new DatabaseSync(join(folder, file!), { readOnly: true });
  const bytes = ['BinaryCaches.url', ...columns].map(name => `cast(coalesce(${name}, '') as blob)`);
  const select = database.prepare(`select ${bytes.join(', ')} from ${from}`);
  select.setReturnArrays(true);
  const rows = select.all() as unknown as readonly (readonly Uint8Array[])[];
  return new Map(
    rows.map(row => {
      const [url, ...values] = row.map(latin1);
      return [url!, Object.fromEntries(columns.map((name, at) => [name, values[at]!]))];
    }),
  );
}
