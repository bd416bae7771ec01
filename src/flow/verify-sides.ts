/** The files of a cache that are neither narinfos nor NARs, and things that should not be there. */
import { cacheInfoKey, folders, readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { parseCacheInfo } from '../format/cache-info.ts';
import type { NarInfo } from '../format/narinfo.ts';
import { baseName } from '../format/store-path.ts';
import { isTemporaryKey, type Storage, type Thing } from '../storage/storage.ts';
import { type Finding, finding } from './findings.ts';

/** The folders and nix-cache-info that every Nix needs, on a read-only mount too. */
export async function* frameFindings(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
): AsyncGenerator<Finding> {
  for (const folder of folders) {
    const thing = things.get(folder);
    if (thing?.kind === 'empty folder')
      yield finding(
        'folder-unkept',
        folder,
        `${folder}/ is empty, and many ways of copying drop empty folders`,
      );
    else if (thing?.kind !== 'folder')
      yield finding(
        'folder-missing',
        folder,
        `${folder}/ is not there: some Nix has to make it, and cannot when the cache is read-only`,
      );
  }
  const text = await readText(storage, cacheInfoKey);
  if (text === undefined)
    yield finding(
      'cache-info-missing',
      cacheInfoKey,
      `${cacheInfoKey} is not there: Nix has to write it, and cannot when the cache is read-only`,
    );
  else
    try {
      parseCacheInfo(text);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      yield finding('cache-info-malformed', cacheInfoKey, error.message);
    }
}

/** What the narinfos of a cache say. */
interface Narrated {
  readonly infos: ReadonlyMap<string, NarInfo>;
  /** Files that a narinfo names, even one that cannot be read. */
  readonly claimed: ReadonlySet<string>;
}

/** What lies in the cache and belongs to no narinfo, or is no file. */
export async function* sideFindings(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  { infos, claimed }: Narrated,
): AsyncGenerator<Finding> {
  const derivers = new Set<string>();
  for (const { deriver } of infos.values()) if (deriver) derivers.add(baseName(deriver));
  for (const { key, kind } of things.values()) {
    if (kind === 'folder' || kind === 'empty folder') {
      if (/\.(narinfo|ls)$/.test(key))
        yield finding('not-a-file', key, `${key} is a folder, not a file`);
    } else if (kind !== 'value')
      yield finding(
        'not-a-file',
        key,
        `${key} is a ${kind === 'link' ? 'link' : 'pipe, socket or device'}, not a file: a copy of the cache would not have it`,
      );
    else if (isTemporaryKey(key) || /\.tmp\.\d+\.\d+$/.test(key))
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
      if (!derivers.has(key.slice(4)) && key !== 'log/KEEP')
        yield finding(
          'log-orphan',
          key,
          `${key} is the log of a build that made no path of the cache`,
        );
    } else if (key.startsWith('debuginfo/')) {
      if (key !== 'debuginfo/KEEP') yield* debugInfoFindings(storage, key, things);
    } else if (!isKnown(key) && !claimed.has(key))
      yield finding('stranger', key, `${key} belongs to no cache`);
  }
}

const isKnown = (key: string): boolean =>
  key === cacheInfoKey ||
  key === 'index.html' ||
  /^[^/]+\.narinfo$/.test(key) ||
  /^(granary|realisations|build-trace-v2)\//.test(key);

async function* debugInfoFindings(
  storage: Storage,
  key: string,
  things: ReadonlyMap<string, Thing>,
): AsyncGenerator<Finding> {
  const say = (why: string): Finding =>
    finding('debuginfo-wrong', key, `${key} leads nowhere: ${why}`);
  try {
    const { archive, member } = JSON.parse((await readText(storage, key)) ?? '') as Record<
      string,
      unknown
    >;
    const url = /^\.\.\/(.+)$/.exec(String(archive))?.[1];
    if (typeof member !== 'string' || url === undefined)
      yield say('it names no archive and member');
    else if (things.get(url)?.kind !== 'value') yield say(`${url} is not there`);
  } catch {
    yield say('it is no JSON');
  }
}
