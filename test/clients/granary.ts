/** Granary as its users run it: a program with a command line, and a cache that is a folder of files. */

import { createHash } from 'node:crypto';
import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execute, type Result } from './process.ts';

/** The project's folder. */
const home = fileURLToPath(new URL('../..', import.meta.url));

/** The command line that runs `granary` from this source. */
export const granaryArgv = (args: readonly string[]): string[] => [
  process.execPath,
  join(home, 'bin/granary.js'),
  ...args,
];

/** Runs `granary` to its end, whatever its exit status, after what goes `before` it in the line. */
export const granary = (args: readonly string[], before: readonly string[] = []): Promise<Result> =>
  execute([...before, ...granaryArgv(args)], { cwd: home });

/** What `--json` printed: one event a line. */
export const eventsOf = ({ stdout }: Result): readonly GranaryEvent[] =>
  stdout
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line));

interface GranaryEvent {
  readonly type: string;
  readonly path?: string;
  readonly state?: string;
  readonly again?: string;
  readonly message?: string;
  readonly [field: string]: unknown;
}

/** Each file of a cache and its SHA-256, in order of names: equal exactly when the caches are. */
export function filesOf(cache: string): Readonly<Record<string, string>> {
  const files = globSync('**', { cwd: cache }).filter(name => statSync(join(cache, name)).isFile());
  return Object.fromEntries(
    files.sort().map(name => [
      name,
      createHash('sha256')
        .update(readFileSync(join(cache, name)))
        .digest('hex'),
    ]),
  );
}
