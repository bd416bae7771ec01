/** From what a person types to a store path: a store path, a file inside one, a link to one. */
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { join, resolve } from 'node:path';
import { GranaryError } from '../errors.ts';
import {
  isStorePathName,
  parseBaseName,
  parseStorePath,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import type { Store } from './store.ts';

const maxLinks = 40;

/**
 * The store path that `text` means.
 *
 * @throws GranaryError `usage` when it neither is nor leads to a path of this store
 */
export function resolveRoot(text: string, store: Store): StorePath {
  const isInStore = (file: string): boolean => store.pathOf(file) !== undefined;
  const file = fileInStore(text, isInStore);
  if (file !== undefined) return store.pathOf(file)!;
  refuseFlake(text);
  throw new GranaryError(
    'usage',
    `Cannot use "${text}" as a root: it neither is a path in ${store.storeDir} nor leads to one (asked: ${store.url})`,
  );
}

/**
 * The same, or the path of the store with this base name or hash part.
 *
 * @throws GranaryError `usage` as `resolveRoot` does, `absent` when the store has none of that hash
 */
export async function findRoot(text: string, store: Store): Promise<StorePath> {
  const [, hash, name] = /^([0-9abcdfghijklmnpqrsvwxyz]{32})(-[^/]*)?$/.exec(text) ?? [];
  if (hash === undefined) return resolveRoot(text, store);
  if (name !== undefined && !isStorePathName(name.slice(1))) return resolveRoot(text, store);
  const info = await (name === undefined
    ? store.byHashPart(hash)
    : store.info(parseBaseName(text, store.storeDir)));
  if (info) return info.path;
  throw new GranaryError('absent', `Cannot find ${text} in the store ${store.url}`, { path: text });
}

/** The store path in `real` that `file` lies in, spelled with `storeDir`; names only, no disk. */
export function pathWithin(file: string, real: string, storeDir: StoreDir): StorePath | undefined {
  if (!file.startsWith(`${real}/`)) return undefined;
  const [name] = file.slice(real.length + 1).split('/', 1);
  try {
    return parseStorePath(`${storeDir}/${name}`, storeDir);
  } catch {
    return undefined;
  }
}

/** @throws GranaryError `usage` for what Nix takes and we do not, with what gives its path */
export function refuseFlake(text: string): void {
  if (text.includes('#'))
    throw new GranaryError(
      'usage',
      `Cannot use "${text}" as a root: it is a flake reference, not a store path; write "$(nix build --no-link --print-out-paths '${text}')"`,
    );
}

/** The file in the store that a name means, or that its links lead to. */
export const fileInStore = (
  text: string,
  isInStore: (file: string) => boolean,
): string | undefined => (isInStore(resolve(text)) ? resolve(text) : followLinks(text, isInStore));

/** Walks the path link by link, asking after each whether we are in the store by now. */
function followLinks(text: string, isInStore: (file: string) => boolean): string | undefined {
  let rest = resolve(text).split('/').filter(Boolean);
  let at = '/';
  let links = 0;
  while (rest.length > 0) {
    const next = join(at, rest[0]!);
    rest = rest.slice(1);
    const stat = statOf(next);
    if (!stat) return undefined;
    if (!stat.isSymbolicLink()) {
      at = next;
      continue;
    }
    if (++links > maxLinks) return undefined;
    const target = join(resolve(at, readlinkSync(next)), ...rest);
    if (isInStore(target)) return target;
    rest = target.split('/').filter(Boolean);
    at = '/';
  }
  return undefined;
}

/** Undefined for whatever cannot be there: a file below a file, a name that is too long. */
function statOf(file: string): Stats | undefined {
  try {
    return lstatSync(file, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
