/** Decides when a packed path may become visible: after its NAR is safe and its references are. */
import { writeFileSync } from 'node:fs';
import { listingEntry, narInfoEntry } from '../cache/cache.ts';
import { explained } from '../errors.ts';
import { debugKey, printDebugLink } from '../format/debug-info.ts';
import { narInfoKey, type PackedNar } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { StorePath } from '../format/store-path.ts';
import { openSpool, type Spool, spooled } from '../storage/spool.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import type { Reached } from './unfinished.ts';

/** A batch is published when it holds so many bytes or is so old: what a crash can cost. */
const batchBytes = 8 * 2 ** 30;
const batchMs = 30_000;

interface Ready {
  readonly info: PathInfo;
  readonly file: PackedNar;
  readonly entries: readonly Entry[];
}

/** What a path may have beside its narinfo. */
interface Beside {
  /** latin-1 */
  readonly listing?: string | undefined;
  readonly debugMembers?: readonly string[];
}

/** Says what each entry comes after, for a storage that can put several at once: the narinfo, which is the last, alone has to wait. */
const withOrder = ({ info, entries }: Ready, shown: () => void): readonly Entry[] =>
  entries.map((entry, at) => {
    if (at < entries.length - 1) return { ...entry, after: [] };
    const references = info.references.filter(path => path !== info.path).map(narInfoKey);
    const after = [...entries.slice(0, at).map(({ key }) => key), ...references];
    return { ...entry, after, shown };
  });

export class Publisher implements Disposable {
  readonly #storage: Storage;
  readonly #spool: Spool | undefined;
  /** What may be published, references before referrers. */
  readonly #order: readonly PathInfo[];
  readonly #visible: Set<StorePath>;
  readonly #ready = new Map<StorePath, Ready>();
  #last: Promise<void> = Promise.resolve();
  /** Totals of what was published. */
  published = 0;
  narBytes = 0;
  fileBytes = 0;
  /** Bytes of NAR files that became ready since the last batch. */
  #freshBytes = 0;
  #batchStart = Date.now();

  constructor(storage: Storage, order: readonly PathInfo[], present: ReadonlySet<StorePath>) {
    this.#storage = storage;
    this.#spool = storage.spool && openSpool(storage);
    this.#order = order;
    this.#visible = new Set(present);
  }

  /**
   * Takes note that the path's NAR file is in the storage, complete. A listing becomes visible as the
   * narinfo does, safe and just before it: where the narinfo is there already, half a listing is damage. So do
   * debuginfo files, which take the place of older ones: those may lead to files that are gone.
   *
   * @throws GranaryError `malformed` when no narinfo can say what is known of the path
   */
  ready(info: PathInfo, file: PackedNar, { listing, debugMembers = [] }: Beside = {}): void {
    const beside = debugMembers.map(member => ({
      key: debugKey(member),
      body: bodyOf(printDebugLink(file.url, member)),
    }));
    if (listing !== undefined) beside.push(listingEntry(info.path, listing));
    this.readyAs(info, file, [...beside, narInfoEntry(info, file)]);
  }

  /** The same with entries that were made elsewhere, the narinfo last. */
  readyAs(info: PathInfo, file: PackedNar, entries: readonly Entry[]): void {
    const staged = entries.map(entry => this.#staged(entry));
    this.#ready.set(info.path, { info, file, entries: staged });
    this.#freshBytes += file.fileSize ?? 0;
  }

  /** Takes note that a narinfo of the path is there, which is not ours: it may be referred to. */
  stands(path: StorePath): void {
    this.#visible.add(path);
  }

  /** Publishes all that is ready and whose references are visible; one batch at a time. */
  publish(): Promise<void> {
    const before = this.#last.catch(() => {}); // its failure was told to who asked for it
    this.#last = before.then(() => this.#publishReady());
    return this.#last;
  }

  /** Publishes now and then: work that was done is not lost with what comes after it. */
  async publishIfDue(): Promise<void> {
    if (this.#freshBytes < batchBytes && Date.now() - this.#batchStart < batchMs) return;
    this.#batchStart = Date.now();
    await this.publish();
  }

  /** How far it came with what it is to publish. */
  reached(): Reached {
    return { done: this.published, left: this.#order.length - this.published };
  }

  /** What is ready but has to wait for a reference that is not visible. */
  *held(): Generator<{ readonly path: StorePath; readonly behind: StorePath }> {
    for (const { info } of this.#ready.values())
      yield { path: info.path, behind: this.#missing(info, this.#visible)! };
  }

  async #publishReady(): Promise<void> {
    this.#freshBytes = 0;
    const visible = new Set<StorePath>();
    const entries: Entry[] = [];
    const batch: Ready[] = [];
    for (const { path } of this.#order) {
      const found = this.#ready.get(path);
      if (!found || this.#missing(found.info, this.#visible, visible)) continue;
      visible.add(path);
      batch.push(found);
      const shown = (): void => this.#seen(found);
      entries.push(...(this.#spool ? found.entries : withOrder(found, shown)));
    }
    await this.#storage.publish(entries);
    for (const ready of batch) this.#seen(ready);
  }

  #seen({ info, file, entries }: Ready): void {
    if (!this.#ready.delete(info.path)) return; // counted already
    for (const { body } of entries) if (body.spool !== undefined) this.#spool!.done(body.spool);
    this.#visible.add(info.path);
    this.published += 1;
    this.narBytes += info.narSize;
    this.fileBytes += file.fileSize ?? 0;
  }

  /**
   * Writes it now under a temporary name, where that can be: while threads pack, this one is idle (2,000
   * narinfos at the end cost 0.6 s of 1.5 s).
   */
  #staged(entry: Entry): Entry {
    if (!this.#spool) return entry;
    const name = this.#spool.name(entry.key);
    const [bytes] = entry.body.open() as readonly Uint8Array[];
    explained(`write "${entry.key}" in ${this.#storage.url}`, () =>
      writeFileSync(name, bytes!, { flag: 'wx' }),
    );
    return { ...entry, body: spooled(name, entry.body.size) };
  }

  [Symbol.dispose](): void {
    this.#spool?.[Symbol.dispose]();
  }

  #missing(info: PathInfo, ...visible: readonly ReadonlySet<StorePath>[]): StorePath | undefined {
    return info.references.find(
      reference => reference !== info.path && !visible.some(set => set.has(reference)),
    );
  }
}
