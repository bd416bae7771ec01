/** What a narinfo says wrongly by itself, and of the files and narinfos around it. */
import { longText, readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { contentAddressedPath, partsOf } from '../format/content-address.ts';
import { algorithmOf } from '../format/hash.ts';
import { type BareInfo, hiddenFields, narInfoKey } from '../format/narinfo.ts';
import { namePart, storeDirOf } from '../format/store-path.ts';
import { isKey, type Storage, type Thing } from '../storage/storage.ts';
import { type Finding, finding } from './findings.ts';

/** Whether a way to the cache failed, which says nothing of the cache. */
export const isAway = (storage: Storage, error: unknown): boolean =>
  storage.isFar === true && error instanceof GranaryError && error.code === 'unavailable';

/** The text of a small file, nothing when it went away, or the finding that it cannot be read. */
export async function readSide(
  storage: Storage,
  key: string,
): Promise<string | Finding | undefined> {
  try {
    return await readText(storage, key, longText);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined || isAway(storage, error)) throw error;
    return finding('unreadable', key, message);
  }
}

/** What is wrong with a narinfo by itself. */
export function* narInfoFindings(key: string, text: string, info: BareInfo): Generator<Finding> {
  const { path, ca, narHash, file } = info;
  if (key !== narInfoKey(path))
    yield finding(
      'narinfo-misnamed',
      key,
      `${key} is the narinfo of ${path}, which belongs into ${narInfoKey(path)}`,
      path,
    );
  for (const field of hiddenFields(text))
    yield finding(
      'narinfo-read-otherwise',
      key,
      `A blank line hides the field ${field} of ${key} from every Nix`,
      path,
    );
  if (file.fileHash === undefined)
    yield finding(
      'narinfo-read-otherwise',
      key,
      `${key} has no FileHash: Nix up to 2.34 dies when it signs such a path`,
      path,
    );
  for (const [field, hash] of [
    ['NarHash', narHash],
    ['FileHash', file.fileHash],
  ] as const)
    if (hash !== undefined && algorithmOf(hash) !== 'sha256')
      yield finding(
        'narinfo-read-otherwise',
        key,
        `${field} of ${key} is no SHA-256: Nix dies when it writes such a narinfo`,
        path,
      );
  if (ca !== undefined && !makesItsPath(info))
    yield finding('ca-wrong', key, `The content address ${ca} does not make ${path}`, path);
}

/** Whether the content address and the references make the very store path. */
export function makesItsPath({ path, ca, references }: BareInfo): boolean {
  const others = references.filter(reference => reference !== path);
  try {
    const made = contentAddressedPath(
      ca!,
      namePart(path),
      storeDirOf(path),
      others,
      others.length < references.length,
    );
    return made === path;
  } catch {
    return false;
  }
}

/** What lies around a narinfo. */
interface Around {
  readonly things: ReadonlyMap<string, Thing>;
  /** Whether the URL is one to follow, and no file name. */
  readonly follows: boolean;
}

/** What is wrong with the file that it names, as far as can be said without reading it. */
export function* fileFindings(
  key: string,
  { path, file }: BareInfo,
  { things, follows }: Around,
): Generator<Finding> {
  const { url, fileSize } = file;
  const thing = things.get(url);
  if (thing?.kind === 'other' && follows) return; // that it cannot be asked for was told
  if (!isPlainUrl(url) && !(thing && follows)) {
    yield finding(
      'url-unsafe',
      key,
      `The URL "${url}" of ${key} is no plain path inside the cache`,
      path,
    );
    return;
  }
  if (thing?.kind === 'value') {
    if (fileSize === undefined)
      yield finding('file-size-unstated', key, `${key} does not say how big ${url} is`, path);
    else if (thing.size !== fileSize)
      yield finding(
        'file-size-wrong',
        url,
        `${url} has ${thing.size} bytes, and its narinfo says ${fileSize}`,
        path,
      );
  } else if (!follows && /[?#%]|^[a-z]+:/i.test(url))
    yield finding(
      'url-query',
      key,
      `The URL "${url}" of ${key} is not a file name, and file:// takes it for one`,
      path,
    );
  else
    yield finding(
      'nar-missing',
      url,
      `${url} is ${thing ? 'no file' : 'not there'}, and ${key} names it`,
      path,
    );
}

/** By file:// it must not climb; by HTTP it must be a URL, which has no blanks and nothing beyond ASCII. */
const isPlainUrl = (url: string): boolean => isKey(url) && /^[\x21-\x7e]+$/.test(url);

/** What of the NAR its content address speaks of. */
export function addressedPart(info: BareInfo): 'nar' | 'modulo' | 'content' | undefined {
  if (info.ca === undefined) return undefined;
  const [method] = partsOf(info.ca);
  if (method !== 'nar') return 'content';
  return info.references.includes(info.path) ? 'modulo' : 'nar';
}
