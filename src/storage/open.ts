/** From the name of a cache to the Storage that it lies in. */
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withoutPassword } from '../bytes.ts';
import { explained, GranaryError } from '../errors.ts';
import { type DirectoryOptions, directoryStorage } from './directory.ts';
import { httpStorage } from './http.ts';
import { s3Storage } from './s3.ts';
import type { Storage } from './storage.ts';

/**
 * Opens a bare path, a `file://` URL (which is percent-decoded; what follows `?` is Nix's own), an
 * `http://` or `https://` URL, or an `s3://` URL with Nix's parameters.
 *
 * @throws GranaryError `usage` when the name is none of these, or names a file
 */
export function openStorage(name: string, options: DirectoryOptions = {}): Storage {
  if (/^https?:\/\//i.test(name)) return httpStorage(name);
  if (/^s3:\/\//i.test(name)) return s3Storage(name);
  const path = pathOf(name);
  const statOf = (file: string) =>
    explained(`use ${path} as a cache`, () => statSync(file, { throwIfNoEntry: false }));
  let place = path; // the nearest thing that is there
  while (!statOf(place)) place = dirname(place);
  if (!statOf(place)?.isDirectory()) {
    const what = place === path ? 'it' : place;
    throw new GranaryError(
      'usage',
      `Cannot use ${path} as a cache: ${what} is a file, not a directory`,
    );
  }
  return directoryStorage(path, options);
}

function pathOf(name: string): string {
  if (name === '') throw new GranaryError('usage', 'Cannot use "" as a cache: it is empty');
  if (/^file:(?!\/\/)/.test(name))
    throw new GranaryError(
      'usage',
      `Cannot use "${name}" as a cache: a file:// URL has three slashes`,
    );
  if (/^https?:(?!\/\/)/i.test(name))
    throw new GranaryError(
      'usage',
      `Cannot use "${withoutPassword(name)}" as a cache: two slashes follow the colon of a URL`,
    );
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(name)?.[1]?.toLowerCase();
  if (scheme === undefined) return resolve(name);
  if (scheme !== 'file')
    throw new GranaryError(
      'usage',
      `Cannot use "${withoutPassword(name)}" as a cache: a cache is a folder, or a file://, http://, https:// or s3:// URL`,
    );
  try {
    return fileURLToPath(name.replace(/[?#].*$/s, ''));
  } catch (error) {
    throw new GranaryError(
      'usage',
      `Cannot use "${name}" as a cache: a file:// URL has three slashes and an absolute path, as in file:///srv/cache`,
      {},
      error,
    );
  }
}
