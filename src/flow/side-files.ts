/**
 * What a cache keeps beside narinfos and NARs, and comes along with its paths: logs, debuginfo, realisations. They come
 * before the narinfo of their path, so a path that moved has them; what the target had already is completed.
 */
import { collect } from '../bytes.ts';
import { listingKey, longText, readText } from '../cache/cache.ts';
import { debugKey, debugMembersIn } from '../format/debug-info.ts';
import { type ListingNode, parseListing } from '../format/nar-listing.ts';
import type { NarInfo, PackedNar } from '../format/narinfo.ts';
import { baseName, type StorePath } from '../format/store-path.ts';
import { type Body, bodyOf, type Storage } from '../storage/storage.ts';
import { stopping } from './landing.ts';
import { archiveIn, debugKeysOf, keysBelow, realisedIn, unusable } from './side-index.ts';

/** What some servers and networks answer to everything. */
const webPage = /^\s*<(!doctype|html)/i;

/** No log of a web page's size is streamed. */
const inMemory = 1 << 20;

const listingsAndLogs = /^([^/]+\.ls|log\/.+)$/;

const logKey = (deriver: StorePath): string => `log/${baseName(deriver)}`;
const limitOf = (key: string): number | undefined => (key.endsWith('.ls') ? longText : undefined);

const asItIs = (text: string): string => text;

/** @throws GranaryError `malformed` where it is no listing */
function soundListing(text: string): string {
  parseListing(text);
  return text;
}

/** Copies what the target has not. */
export class SideFiles {
  readonly #source: Storage;
  readonly #target: Storage;
  /** Keys of realisations. */
  readonly #realised: ReadonlyMap<StorePath, readonly string[]>;
  /** Keys of debuginfo files by the NAR files that they lead to, where no listing tells. */
  #debug: Promise<ReadonlyMap<string, readonly string[]>> | undefined;
  /** Listings and logs of a source far away. */
  #offered: Promise<ReadonlySet<string>> | undefined;
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
    return new SideFiles(source, target, await realisedIn(source, target, wanted));
  }

  /**
   * Brings what belongs to a path, whose NAR file is `file` in the target. What is there but cannot be used stays behind.
   *
   * @throws GranaryError what keeps it from being read, or one that `stops` all when it cannot be written
   */
  async bring(info: NarInfo, file: PackedNar, listing: ListingNode | undefined): Promise<void> {
    if (info.deriver) await this.#copy(logKey(info.deriver), asItIs);
    await this.#bringIndexed(info, file, listing);
  }

  /**
   * Brings what the target lacks of a path that it has, with the NAR file `file`. A source far away has to be one that
   * can be listed: by name it is asked only for what is there, as most of this is there already, or nowhere.
   *
   * @throws GranaryError as `bring` does
   */
  async complete(info: NarInfo, file: PackedNar): Promise<void> {
    const listing = listingKey(info.path);
    if (await this.#offers(listing)) await this.#copy(listing, soundListing);
    const log = info.deriver && logKey(info.deriver);
    if (log !== undefined && (await this.#offers(log))) await this.#copy(log, asItIs);
    await this.#bringIndexed(info, file, undefined);
  }

  async #bringIndexed(info: NarInfo, file: PackedNar, listing?: ListingNode): Promise<void> {
    for (const key of this.#realised.get(info.path) ?? []) await this.#copy(key, asItIs);
    for (const key of await this.#debugKeys(info, listing))
      await this.#copy(key, text =>
        archiveIn(text) === info.file.url ? relinked(text, file) : '',
      );
  }

  async #offers(key: string): Promise<boolean> {
    if (!this.#source.isFar) return (await this.#source.head(key)) !== undefined;
    this.#offered ??= keysBelow(this.#source, '', listingsAndLogs).then(keys => new Set(keys));
    return (await this.#offered).has(key);
  }

  /** They have to be looked for, which takes reading them all; of what is far away the listing tells, or else the path's name. */
  async #debugKeys(info: NarInfo, listing: ListingNode | undefined): Promise<readonly string[]> {
    const { isFar } = this.#source;
    if (isFar && listing) return debugMembersIn(listing).map(debugKey);
    if (isFar && !/-debug$/.test(info.path)) return [];
    this.#debug ??= debugKeysOf(this.#source, this.#target);
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
      const text = await readText(this.#source, key, limitOf(key));
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

/** A debuginfo file that leads to where its NAR is now. */
function relinked(text: string, { url }: PackedNar): string {
  if (archiveIn(text) === url) return text;
  return JSON.stringify({ ...JSON.parse(text), archive: `../${url}` });
}
