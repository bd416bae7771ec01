/** Where a name could mean a cache or a store: one grammar for all commands. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { GranaryError } from '../errors.ts';

/**
 * What a name means. A store is `auto`, `local`, `daemon`, `unix://SOCKET` or `ssh://HOST`, with Nix's parameters after
 * `?`; all else is a cache, so a folder of such a name is written with `./`.
 *
 * @throws GranaryError `usage` for a bare path at which a store lies
 */
export function kindOf(name: string): 'cache' | 'store' {
  if (/^(auto|local|daemon)(\?|$)|^(unix|ssh|ssh-ng):/.test(name)) return 'store';
  const isBare = !/^[a-z][a-z0-9+.-]*:\/\//i.test(name);
  if (isBare && existsSync(join(name, 'nix/var/nix/db')))
    throw new GranaryError(
      'usage',
      `Cannot use "${name}" as a cache: a Nix store lies there; write "local?root=${resolve(name)}"`,
    );
  return 'cache';
}
