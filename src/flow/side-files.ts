/**
 * What a cache keeps beside narinfos and NARs, and comes along with its paths: logs, debuginfo, realisations. They come
 * before the narinfo of their path, so a path that is there has them.
 */
import { collect } from '../bytes.ts';
import { longText, readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { debugKey, debugMembersIn } from '../format/debug-info.ts';
import type { ListingNode } from '../format/nar-listing.ts';
import type { NarInfo, PackedNar } from '../format/narinfo.ts';
import { baseName, type StorePath } from '../format/store-path.ts';
import { type Body, bodyOf, type Storage } from '../storage/storage.ts';
import { each } from './each.ts';
import { stopping } from './landing.ts';
import { readsAtOnce } from './read-cache.ts';

/** What Nix writes there, and nothing else: the JSON of each says whose it is. */
const debugLinks = /^debuginfo\/[0-9a-f]{40}\.debug$/;
const realisations = [
  ['realisations/', /^realisations\/(sha256:[0-9a-f]{64}![A-Za-z0-9+._?=-]{1,211})\.doi$/],
  ['build-trace-v2/', /^build-trace-v2\/[A-Za-z0-9+._?=-]{1,215}\/[A-Za-z0-9+._?=-]{1,211}\.doi$/],
] as const;

/** What some servers and networks answer to everything. */
const webPage = /^\s*<(!doctype|html)/i;

/** No log of a web page's size is streamed. */
const inMemory = 1 << 20;

/** Copies what the target has not. */
export class SideFiles {
  readonly #source: Storage;
  readonly #target: Storage;
  /** Keys of realisations. */
  readonly #realised: ReadonlyMap<StorePath, readonly string[]>;
  /** Keys of debuginfo files by the NAR files that they lead to, where no listing tells. */
  #debug: Promise<ReadonlyMap<string, readonly string[]>> | undefined;
  /** Files that were copied. */
  copied = 0;

  private constructor(
    source: Storage,
    target: Storage,
    realised: ReadonlyMap<StorePath, readonly string[]>,
  ) {
    this.#source = source;
    this.#target = target;
    this.#realised = realised;
  }

  /** Between two caches, for these paths. What is far away is only asked for what has a content address: else nothing is realised. */
  static async between(
    source: Storage,
    target: Storage,
    infos: readonly NarInfo[],
  ): Promise<SideFiles> {
    const wanted = new Map<string, StorePath>();
    for (const { path, ca } of infos)
      if (!source.isFar || ca !== undefined) wanted.set(baseName(path), path);
    const found = new Map<StorePath, string[]>();
    if (wanted.size > 0)
      for (const [prefix, pattern] of realisations)
        await eachBelow(source, prefix, pattern, (key, text) => {
          const path = wanted.get(stringIn(text, 'outPath').replace(/^.*\//, ''));
          const [id, said] = [pattern.exec(key)![1], stringIn(text, 'id')];
          if (path === undefined || (id !== undefined && said !== '' && said !== id)) return;
          found.set(path, [...(found.get(path) ?? []), key]);
        });
    return new SideFiles(source, target, found);
  }

  /**
   * Brings what belongs to a path, whose NAR file is `file` in the target. What is there but cannot be used stays behind.
   *
   * @throws GranaryError what keeps it from being read, or one that `stops` all when it cannot be written
   */
  async bring(info: NarInfo, file: PackedNar, listing: ListingNode | undefined): Promise<void> {
    if (info.deriver) await this.#copy(`log/${baseName(info.deriver)}`, text => text);
    for (const key of this.#realised.get(info.path) ?? []) await this.#copy(key, text => text);
    for (const key of await this.#debugKeys(info, listing))
      await this.#copy(key, text =>
        archiveIn(text) === info.file.url ? relinked(text, file) : '',
      );
  }

  /** They have to be looked for, which takes reading them all; of what is far away the listing tells, or else the path's name. */
  async #debugKeys(info: NarInfo, listing: ListingNode | undefined): Promise<readonly string[]> {
    const { isFar } = this.#source;
    if (isFar && listing) return debugMembersIn(listing).map(debugKey);
    if (isFar && !/-debug$/.test(info.path)) return [];
    this.#debug ??= debugKeysOf(this.#source);
    return (await this.#debug).get(info.file.url) ?? [];
  }

  async #copy(key: string, change: (text: string) => string): Promise<void> {
    if (await this.#target.head(key)) return;
    const body = await this.#read(key, change);
    if (!body) return;
    try {
      await this.#target.put(key, body);
    } catch (error) {
      throw stopping(error, this.#target);
    }
    this.copied += 1;
  }

  async #read(key: string, change: (text: string) => string): Promise<Body | undefined> {
    try {
      if (key.startsWith('log/')) return await logIn(this.#source, key);
      const text = await readText(this.#source, key);
      const made = text === undefined || webPage.test(text) ? '' : change(text);
      return made === '' ? undefined : bodyOf(made);
    } catch (error) {
      return unusable(error);
    }
  }
}

/** A long log is never whole in memory, but where nobody says how long it is. */
async function logIn(source: Storage, key: string): Promise<Body | undefined> {
  let found = await source.get(key);
  if (!found) return undefined;
  const { size } = found;
  if (size === undefined || size <= inMemory) {
    const bytes = await collect(found.bytes, longText);
    return !bytes || webPage.test(bytes.toString('latin1', 0, 100)) ? undefined : bodyOf(bytes);
  }
  const open = async function* () {
    const its = found ?? (await source.get(key));
    found = undefined;
    if (its) yield* its.bytes;
  };
  return { size, open };
}

/** What was sent is none of it, and left where it is. */
function unusable(error: unknown): undefined {
  if (!(error instanceof GranaryError && error.code === 'malformed')) throw error;
}

async function debugKeysOf(source: Storage): Promise<ReadonlyMap<string, readonly string[]>> {
  const keys = new Map<string, string[]>();
  await eachBelow(source, 'debuginfo/', debugLinks, (key, text) => {
    const url = archiveIn(text);
    keys.set(url, [...(keys.get(url) ?? []), key]);
  });
  return keys;
}

/** Reads the files below a prefix that have such names; none where they cannot be listed. */
async function eachBelow(
  source: Storage,
  prefix: string,
  pattern: RegExp,
  use: (key: string, text: string) => void,
): Promise<void> {
  const keys: string[] = [];
  try {
    for await (const { key } of source.list?.(prefix) ?? []) if (pattern.test(key)) keys.push(key);
  } catch (error) {
    if (!(error instanceof GranaryError && error.code === 'usage')) throw error;
    return; // who may read a bucket may not always list it
  }
  await each(keys, readsAtOnce(source), async key => {
    const text = await readText(source, key).catch(unusable);
    if (text !== undefined) use(key, text);
  });
}

/** A debuginfo file that leads to where its NAR is now. */
function relinked(text: string, { url }: PackedNar): string {
  if (archiveIn(text) === url) return text;
  return JSON.stringify({ ...JSON.parse(text), archive: `../${url}` });
}

const archiveIn = (text: string): string => stringIn(text, 'archive').replace(/^\.\.\//, '');

function stringIn(text: string, field: string): string {
  try {
    return String(JSON.parse(text)?.[field] ?? '');
  } catch {
    return '';
  }
}
