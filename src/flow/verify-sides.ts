/** The files of a cache that are neither narinfos nor NARs, and things that should not be there. */
import { cacheInfoKey, folders } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { parseCacheInfo } from '../format/cache-info.ts';
import type { BareInfo } from '../format/narinfo.ts';
import { baseName, parseStoreDir } from '../format/store-path.ts';
import { isTemporaryKey, type Storage, type Thing } from '../storage/storage.ts';
import { type Finding, finding } from './findings.ts';
import { readSide } from './verify-narinfo.ts';

/** The folders, where they can be seen, and nix-cache-info that every Nix needs, on a read-only mount too. */
export async function* frameFindings(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
): AsyncGenerator<Finding> {
  if (storage.inventory) yield* folderFindings(things);
  const isThere = things.get(cacheInfoKey)?.kind === 'value'; // what a link leads to is none of the cache
  const text = isThere ? await readSide(storage, cacheInfoKey) : undefined;
  if (text === undefined)
    yield finding(
      'cache-info-missing',
      cacheInfoKey,
      `${cacheInfoKey} is not there: Nix has to write it, and cannot when the cache is read-only`,
    );
  else if (typeof text !== 'string') yield text;
  else
    try {
      const { storeDir } = parseCacheInfo(text);
      if (storeDir !== undefined) parseStoreDir(storeDir);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      yield finding('cache-info-malformed', cacheInfoKey, error.message);
    }
}

function* folderFindings(things: ReadonlyMap<string, Thing>): Generator<Finding> {
  const filled = new Set<string>(); // with more than left-overs, which the next writer sweeps
  for (const key of things.keys())
    if (key.includes('/') && !isTemporary(key)) filled.add(key.slice(0, key.indexOf('/')));
  for (const folder of folders) {
    const thing = things.get(folder);
    if (thing?.kind.endsWith('folder') && thing.kind !== 'closed folder' && !filled.has(folder))
      yield finding(
        'folder-unkept',
        folder,
        `${folder}/ is empty, and many ways of copying drop empty folders`,
      );
    else if (thing?.kind !== 'folder' && thing?.kind !== 'closed folder')
      yield finding(
        'folder-missing',
        folder,
        `${folder}/ is ${thing ? 'no folder' : 'not there'}: some Nix has to make it, and cannot when the cache is read-only`,
      );
  }
}

/** What the narinfos of a cache say. */
interface Narrated {
  readonly infos: ReadonlyMap<string, BareInfo>;
  /** Files that narinfos name which cannot be read. */
  readonly claimed: ReadonlySet<string>;
}

/** What lies in the cache and belongs to no narinfo, or is no file. */
export function* sideFindings(
  things: ReadonlyMap<string, Thing>,
  { infos, claimed: others }: Narrated,
): Generator<Finding> {
  const claimed = new Set(others);
  for (const { file } of infos.values()) claimed.add(file.url.trimEnd());
  let derivers: ReadonlySet<string> | undefined; // few caches have logs
  for (const { key, kind } of things.values()) {
    if (key.includes('\uFFFD'))
      yield finding('stranger', key, `${key} has a name that is no UTF-8: nothing can refer to it`);
    else if (kind === 'closed folder')
      yield finding('unreadable', key, `${key} is a folder that cannot be listed`);
    else if (kind === 'folder' || kind === 'empty folder') {
      if (/\.(narinfo|ls)$/.test(key))
        yield finding('not-a-file', key, `${key} is a folder, not a file`);
    } else if (kind !== 'value')
      yield finding(
        'not-a-file',
        key,
        `${key} is a ${kind === 'link' ? 'link' : 'pipe, socket or device'}, not a file: a copy of the cache would not have it`,
      );
    else if (isTemporary(key))
      yield finding('temporary', key, `${key} was left by a writer that did not finish`);
    else if (/^[^/]+\.ls$/.test(key)) {
      if (!things.has(key.replace(/ls$/, 'narinfo')))
        yield finding(
          'listing-orphan',
          key,
          `${key} is the listing of a path that the cache does not have`,
        );
    } else if (key.startsWith('nar/')) {
      if (!claimed.has(key) && key !== 'nar/KEEP')
        yield finding('nar-orphan', key, `No narinfo names ${key}`);
    } else if (key.startsWith('log/')) {
      if (key === 'log/KEEP') continue;
      derivers ??= deriversOf(infos);
      if (!derivers.has(key.slice(4)))
        yield finding(
          'log-orphan',
          key,
          `${key} is the log of a build that made no path of the cache`,
        );
    } else if (!isKnown(key) && !claimed.has(key))
      yield finding('stranger', key, `${key} belongs to no cache`);
  }
}

/** Of ours, or of Nix's. */
const isTemporary = (key: string): boolean => isTemporaryKey(key) || /\.tmp\.\d+\.\d+$/.test(key);

function deriversOf(infos: Narrated['infos']): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { deriver } of infos.values()) if (deriver) names.add(baseName(deriver));
  return names;
}

const isKnown = (key: string): boolean =>
  key === cacheInfoKey ||
  key === 'index.html' ||
  /^[^/]+\.narinfo$/.test(key) ||
  /^(granary|debuginfo|realisations|build-trace-v2)\//.test(key);
