/** What a run of `granary` said, as events, and what it made, as sums of files. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

interface GranaryEvent {
  readonly type: string;
  readonly path?: string;
  readonly state?: string;
  readonly again?: string;
  readonly message?: string;
  readonly [field: string]: unknown;
}

/** What `--json` printed: one event a line. */
export const eventsOf = ({ stdout }: { readonly stdout: string }): readonly GranaryEvent[] =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line));

/** Each file of a cache and its SHA-256, in order of names: equal exactly when the caches are. */
export function filesOf(cache: string): Readonly<Record<string, string>> {
  const names = (readdirSync(cache, { recursive: true }) as string[]).filter(name =>
    statSync(join(cache, name)).isFile(),
  );
  const sum = (name: string): string =>
    createHash('sha256')
      .update(readFileSync(join(cache, name)))
      .digest('hex');
  return Object.fromEntries(names.sort().map(name => [name, sum(name)]));
}
