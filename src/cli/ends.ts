/** Where a name could mean a cache or a store: one grammar for all commands. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { withoutPassword } from '../bytes.ts';
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

/** @throws GranaryError `usage` for what names a store, or at which one lies */
export function refuseStore(name: string): void {
  if (kindOf(name) === 'cache') return;
  const folder = existsSync(name) ? `; the folder of that name is "./${name}"` : '';
  throw new GranaryError(
    'usage',
    `Cannot use "${withoutPassword(name)}" as a cache: it means a store, and this takes a folder, or a file://, http://, https:// or s3:// URL${folder}`,
  );
}
