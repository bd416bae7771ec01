/**
 * Store paths: `STOREDIR/HASH-NAME`, HASH being 32 digits of base-32, NAME 1 to 211 of
 * `0-9 A-Z a-z + - . _ ? =`, not `.` or `..`, and not beginning with `.-` or `..-`.
 */
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';

declare const storeDir: unique symbol;
declare const storePath: unique symbol;
/** A store directory: absolute, in its shortest spelling. Made only by parseStoreDir. */
export type StoreDir = string & { readonly [storeDir]: true };
/** A full store path. Made only by the functions here. */
export type StorePath = string & { readonly [storePath]: true };

const hashDigits = 32;
const hashPattern = /^[0-9abcdfghijklmnpqrsvwxyz]{32}$/;
const namePattern = /^[0-9A-Za-z+\-._?=]{1,211}$/;

/** Where Nix keeps its store unless told otherwise. */
export const defaultStoreDir = '/nix/store' as StoreDir;

/** @throws GranaryError `malformed` unless it is absolute, plain, not the root, and fit for a line of text */
export function parseStoreDir(text: string): StoreDir {
  if (text.length > 1 && canonical(text) === text && !/[\x00-\x1f\x7f]/.test(text))
    return text as StoreDir;
  throw new GranaryError(
    'malformed',
    `Cannot use "${text}" as a store directory: it has to be an absolute path in its plain form, such as ${defaultStoreDir}`,
  );
}

/** Whether a store path may be called so. */
export const isStorePathName = (name: string): boolean =>
  namePattern.test(name) && !/^\.{1,2}(-|$)/.test(name);

/**
 * Reads a store path in its one canonical spelling.
 *
 * @throws GranaryError `malformed`
 */
export function parseStorePath(text: string, dir: StoreDir): StorePath {
  if (!text.startsWith(`${dir}/`)) throw bad(text, `it is not in ${dir}`);
  return parseBaseName(text.slice(dir.length + 1), dir, text);
}

/** Reads a store path as tolerantly as Nix does: `//`, `/./`, `x/../` and a slash at the end are fine. */
export function normalizeStorePath(text: string, dir: StoreDir): StorePath {
  if (!text.startsWith('/')) throw bad(text, 'it is not an absolute path');
  return parseStorePath(canonical(text), dir);
}

/** Reads `HASH-NAME`; `shown` is what the message calls it. */
export function parseBaseName(text: string, dir: StoreDir, shown: string = text): StorePath {
  const name = text.slice(hashDigits + 1);
  if (!hashPattern.test(text.slice(0, hashDigits)))
    throw bad(shown, 'its hash part is not 32 digits of Nix base-32');
  if (text[hashDigits] !== '-') throw bad(shown, 'there is no dash behind its hash part');
  if (!isStorePathName(name)) throw bad(shown, `"${readable(name)}" is no valid name`);
  return `${dir}/${text}` as StorePath;
}

/** `HASH-NAME` of a store path. */
export const baseName = (path: StorePath): string => path.slice(path.lastIndexOf('/') + 1);
/** The 32 digits by which caches know a store path. */
export const hashPart = (path: StorePath): string => baseName(path).slice(0, hashDigits);
/** What follows the hash and its dash. */
export const namePart = (path: StorePath): string => baseName(path).slice(hashDigits + 1);
/** The store directory that a store path lies in. */
export const storeDirOf = (path: StorePath): StoreDir =>
  path.slice(0, path.lastIndexOf('/')) as StoreDir;

/** An absolute path without empty, `.` and `..` parts. */
function canonical(text: string): string {
  if (!text.startsWith('/')) return '';
  const parts: string[] = [];
  for (const part of text.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

const bad = (text: string, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read "${readable(text)}" as a store path: ${why}`, {
    path: text,
  });
