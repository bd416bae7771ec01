/**
 * Moves paths between caches without decompressing a byte: the NAR file as it is, checked on its way against
 * what its narinfo says, and then its narinfo, left to the publisher.
 */
import { createHash } from 'node:crypto';
import { constants, copyFileSync, linkSync, lstatSync } from 'node:fs';
import { getNar, listingKey, readText } from '../cache/cache.ts';
import { checkNar, type NarFacts } from '../cache/nar-check.ts';
import { type ErrorCode, GranaryError, systemError } from '../errors.ts';
import { encodeBase32 } from '../format/base32.ts';
import { algorithmOf, digestOf, type Hash, type HashAlgorithm, hashOf } from '../format/hash.ts';
import { parseListing } from '../format/nar-listing.ts';
import { type KnownFile, type NarInfo, narInfoKey, type PackedNar } from '../format/narinfo.ts';
import { withFile, withSignatures } from '../format/narinfo-edit.ts';
import type { Signature } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import { type Body, bodyOf, type Entry, isKey, type Storage } from '../storage/storage.ts';
import type { CheckPool } from './check-pool.ts';
import type { CheckResult, Unread } from './check-worker.ts';
import { each } from './each.ts';
import type { Publisher } from './publisher.ts';
import { claimOf, narFindings } from './verify-nar.ts';

/** A path to move. */
export interface Transfer {
  /** As the source has it. */
  readonly info: NarInfo;
  /** What its narinfo gets beside its own. */
  readonly signatures: readonly Signature[];
}

export interface TransferInto {
  readonly source: Storage;
  readonly storage: Storage;
  readonly publisher: Publisher;
  readonly pool: CheckPool;
  readonly failed: Map<StorePath, GranaryError>;
  readonly jobs: number;
  /** Shares the files, where both lie on one disk: nothing is read, so only sizes are checked. */
  readonly link: boolean;
  /** Reads the NARs too, as what is to be signed has to be right. */
  readonly prove: boolean;
  readonly moved: (info: NarInfo, file: PackedNar) => void;
}

/** Small files go to a thread together. */
const groupFiles = 64;
const groupBytes = 4 << 20;
/** Files at once, where each is a way to go. */
const farFiles = 8;

/** Puts the NAR file of each, and hands it to the publisher. What fails by itself is kept in `failed`. */
export async function transferAll(all: readonly Transfer[], into: TransferInto): Promise<void> {
  const { source, storage } = into;
  const isNear = source.local !== undefined && storage.spool !== undefined;
  const sound = withSoundUrls(all, into);
  if (isNear) await each(grouped(sound), into.jobs, group => transferNear(group, into));
  else await each(sound, farFiles, one => guarded(one, into, () => transferFar(one, into)));
}

/** Without those whose URL is none. */
export const withSoundUrls = (
  all: readonly Transfer[],
  { source, failed }: Pick<TransferInto, 'source' | 'failed'>,
): readonly Transfer[] =>
  all.filter(({ info }) => {
    const wrong = badUrl(info, source);
    if (wrong) failed.set(info.path, wrong);
    return !wrong;
  });

/** From disk to disk: threads copy. */
async function transferNear(group: readonly Transfer[], into: TransferInto): Promise<void> {
  const { source, storage, pool, link, prove } = into;
  using spool = openSpool(storage);
  const tasks = group.map(({ info }) => ({
    from: source.local!(info.file.url),
    to: spool.name(targetKey(info)),
    algorithm: algorithmFor(info),
  }));
  const writing = (error: unknown): never => {
    throw writeError(storage, error);
  };
  const results = link ? tasks.map(linked) : await pool.copies(tasks).catch(writing);
  const claims = tasks.map(({ to }, at) => ({ file: to, claim: claimFor(group[at]!.info) }));
  const facts = prove ? await pool.files(claims) : [];
  for (const [at, result] of results.entries())
    await guarded(group[at]!, into, async () => {
      const file = proven(group[at]!.info, result, source);
      if (prove) checkFacts(group[at]!.info, facts[at]!, source);
      await storage.put(file.url, spooled(tasks[at]!.to, file.fileSize));
      spool.drop(tasks[at]!.to); // a link to the very file that is there stays where it was
      return file;
    });
}

/** One file, as it comes in. */
async function transferFar({ info }: Transfer, into: TransferInto): Promise<KnownFile> {
  const { source, storage, prove } = into;
  const key = info.file.url;
  const ask = async () => {
    const found = await getNar(source, key);
    if (!found) throw refused(info, source, `${key} is not there`);
    return found;
  };
  if (prove) {
    const { bytes } = await ask();
    checkFacts(info, { facts: await checkNar(bytes, claimFor(info)) }, source);
  }
  let found: Awaited<ReturnType<typeof ask>> | undefined = await ask();
  const size = found.size ?? info.file.fileSize;
  if (size === undefined)
    throw refused(info, source, `neither its narinfo nor the server says how big ${key} is`);
  proven(info, { fileSize: size }, source);
  let file: KnownFile | undefined;
  const body: Body = {
    size,
    open: async function* () {
      const { bytes } = found ?? (await ask());
      found = undefined;
      const sum = createHash(algorithmFor(info));
      let fileSize = 0;
      let last: Uint8Array | undefined; // goes out when the sum is right: else the put fails
      for await (const chunk of bytes) {
        sum.update(chunk);
        fileSize += chunk.length;
        if (last) yield last;
        last = chunk;
      }
      const fileHash = hashOf(algorithmFor(info), sum.digest());
      file = proven(info, { fileHash, fileSize }, source);
      if (last) yield last;
    },
  };
  await storage.put(targetKey(info), body);
  return file!;
}

/** What a path needs that was read, to become visible. */
export type Landing = Pick<TransferInto, 'source' | 'storage' | 'publisher' | 'failed' | 'moved'>;

/** Hands what `put` gives to the publisher, or keeps why not. */
export async function guarded(
  { info, signatures }: Transfer,
  { source, storage, publisher, failed, moved }: Landing,
  put: () => Promise<KnownFile>,
): Promise<void> {
  try {
    const file = await put();
    const entries = await entriesOf(info, file, signatures, source);
    publisher.readyAs(info, file, entries);
    moved(info, file);
  } catch (error) {
    if (!(error instanceof GranaryError)) throw writeError(storage, error);
    if (error.facts.errno !== undefined) throw error;
    failed.set(info.path, error);
  }
  await publisher.publishIfDue();
}

/** The listing, if there is one that can be read: it is not looked for in the NAR. */
async function listingOf(info: NarInfo, source: Storage): Promise<readonly Entry[]> {
  const key = listingKey(info.path);
  const text = await readText(source, key);
  if (text === undefined) return [];
  try {
    parseListing(text);
  } catch (error) {
    if (error instanceof GranaryError) return [];
    throw error;
  }
  return [{ key, body: bodyOf(text) }];
}

/** The narinfo, and the listing if there is one. */
async function entriesOf(
  info: NarInfo,
  file: PackedNar,
  signatures: readonly Signature[],
  source: Storage,
): Promise<readonly Entry[]> {
  const listed = await listingOf(info, source);
  const { url, compression, fileHash, fileSize } = info.file;
  const isSame =
    file.url === url &&
    file.compression === compression &&
    file.fileHash === fileHash &&
    file.fileSize === fileSize;
  const text = withSignatures(isSame ? info.text : withFile(info.text, file), {
    add: signatures,
    drop: [],
  });
  return [...listed, { key: narInfoKey(info.path), body: bodyOf(text) }];
}

/** A file of which nothing was read has no hash. */
type Read = { readonly fileHash?: Hash; readonly fileSize: number } | Unread;

/** Checks what was read against what the narinfo says of it. */
function proven(info: NarInfo, read: Read, source: Storage): KnownFile {
  const { url, compression, fileHash, fileSize } = info.file;
  if ('code' in read) throw unread(info, read, source);
  if (fileSize !== undefined && read.fileSize !== fileSize)
    throw refused(info, source, `${url} has ${read.fileSize} bytes, its narinfo says ${fileSize}`);
  if (fileHash !== undefined && read.fileHash !== undefined && read.fileHash !== fileHash)
    throw refused(
      info,
      source,
      `${url} has the hash ${read.fileHash}, its narinfo says ${fileHash}`,
    );
  const known = read.fileHash ?? fileHash;
  return {
    url: targetKey(info),
    compression,
    ...(known === undefined ? {} : { fileHash: known }),
    fileSize: read.fileSize,
  };
}

function checkFacts(info: NarInfo, result: CheckResult, source: Storage): void {
  if (!('facts' in result)) throw unread(info, result, source);
  const [wrong] = narFindings(info, result.facts as NarFacts);
  if (wrong) throw refused(info, source, wrong.message);
}

const claimFor = (info: NarInfo) => claimOf([info], { listingLimit: 0 });

function unread(info: NarInfo, { code, message }: Unread, source: Storage): GranaryError {
  const { url } = info.file;
  if (code === 'ENOENT') return refused(info, source, `${url} is not there`);
  const told = `Cannot copy ${info.path} from ${source.url}: ${url} cannot be read: ${message}`;
  return new GranaryError('unavailable', told, { key: url });
}

export const refused = (
  info: NarInfo,
  source: Storage,
  why: string,
  code: ErrorCode = 'corrupt',
): GranaryError =>
  new GranaryError(code, `Cannot copy ${info.path} from ${source.url}: ${why}`, {
    key: info.file.url,
    path: info.path,
  });

/** Shares the file, or where that cannot be its blocks, or else copies it. */
function linked({ from, to }: { readonly from: string; readonly to: string }): Read {
  const stat = lstatSync(from, { throwIfNoEntry: false });
  if (!stat) return { code: 'ENOENT', message: 'it is not there' };
  if (!stat.isFile()) return { code: 'EINVAL', message: 'it is no file' };
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  return { fileSize: stat.size };
}

const algorithmFor = ({ file }: NarInfo): HashAlgorithm =>
  file.fileHash === undefined ? 'sha256' : algorithmOf(file.fileHash);

function badUrl({ file, path }: NarInfo, source: Storage): GranaryError | undefined {
  if (isKey(file.url) || source.follow) return undefined;
  const message = `Cannot copy ${path} from ${source.url}: its URL "${file.url}" is no plain path inside the cache`;
  return new GranaryError('malformed', message, { path });
}

/** Its own key, where every Nix and every storage can read that; else one like it. */
function targetKey({ file, narHash }: NarInfo): string {
  if (/^nar\/[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(file.url)) return file.url;
  const name = encodeBase32(digestOf(file.fileHash ?? narHash));
  const extension = /\.nar(\.[a-z0-9]+)?$/.exec(file.url)?.[0] ?? '.nar';
  return `nar/${name}${extension}`;
}

/** Largest first: a big file that comes last is copied by one thread alone. */
function* grouped(all: readonly Transfer[]): Generator<readonly Transfer[]> {
  const size = ({ info }: Transfer): number => info.file.fileSize ?? 0;
  let group: Transfer[] = [];
  let bytes = 0;
  for (const one of all.toSorted((a, b) => size(b) - size(a))) {
    group.push(one);
    bytes += size(one);
    if (group.length < groupFiles && bytes < groupBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

/** A disk that cannot be written stops everything; a bug stays a bug. */
export const writeError = (storage: Storage, error: unknown): unknown =>
  (error as NodeJS.ErrnoException).code === undefined
    ? error
    : systemError(`write a NAR file in ${storage.url}`, error);
