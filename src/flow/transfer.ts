/**
 * Moves paths between caches without decompressing a byte: the NAR file as it is, checked on its way against
 * what its narinfo says, and then its narinfo, left to the publisher.
 */
import { createHash } from 'node:crypto';
import { constants, copyFileSync, linkSync, lstatSync, rmSync } from 'node:fs';
import { codecFor, codecs } from '../cache/codec.ts';
import { checkNar, type NarFacts } from '../cache/nar-check.ts';
import { GranaryError } from '../errors.ts';
import { encodeBase32 } from '../format/base32.ts';
import { algorithmOf, digestOf, type Hash, type HashAlgorithm, hashOf } from '../format/hash.ts';
import type { KnownFile, NarInfo, PackedNar } from '../format/narinfo.ts';
import { hashPart } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import { isKey, type Storage } from '../storage/storage.ts';
import type { CheckPool } from './check-pool.ts';
import type { CheckResult, Unread } from './check-worker.ts';
import { each } from './each.ts';
import { guarded, type Landing, refused, stopping, type Transfer, writeError } from './landing.ts';
import { isProvable, narFileIn, type Promised, promised } from './nar-file.ts';
import { claimOf, codeOf, narFindings } from './verify-nar.ts';

interface TransferInto extends Landing {
  readonly pool: CheckPool;
  readonly jobs: number;
  /** Shares the files, where both lie on one disk: of what is shared only sizes are checked. */
  readonly link: boolean;
  /** Reads the NARs too, as what is to be signed has to be right. */
  readonly prove: boolean;
  /** Told of each file that is there unread. */
  readonly unread: () => void;
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
  { source, failed }: Pick<Landing, 'source' | 'failed'>,
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
    to: spool.name(`nar/${hashPart(info.path)}.nar`),
    algorithm: algorithmFor(promised(info)),
  }));
  const shared = link
    ? await Promise.all(tasks.map((task, at) => linked(group[at]!.info, task, { storage, prove })))
    : [];
  const copied = await pool
    .copies(tasks.filter((_, at) => shared[at] === undefined))
    .catch((error: unknown) => {
      throw writeError(storage, error);
    });
  const reads = copied.values();
  const results: readonly Read[] = tasks.map((_, at) => shared[at] ?? reads.next().value!);
  const proving = group.flatMap(({ info }, at) =>
    'code' in results[at]! || (!prove && isProvable(promised(info)))
      ? []
      : [{ at, file: tasks[at]!.to, claim: claimFor(info) }],
  );
  const facts = new Map<number, CheckResult>();
  for (const [nth, result] of (await pool.files(proving)).entries())
    facts.set(proving[nth]!.at, result);
  for (const [at, result] of results.entries())
    await guarded(group[at]!, into, async () => {
      const { info } = group[at]!;
      const checked = facts.get(at) && provenBy(info, facts.get(at)!, source);
      const file = landed(info, checked ?? promised(info), result, source);
      if (shared[at] && !checked) into.unread();
      if (!('isThere' in result))
        await storage.put(file.url, spooled(tasks[at]!.to, file.fileSize));
      spool.drop(tasks[at]!.to); // a link to the very file that is there stays where it was
      return file;
    });
}

/** One file, as it comes in. */
async function transferFar({ info }: Transfer, into: TransferInto): Promise<KnownFile> {
  const { source, storage, prove } = into;
  const ask = () =>
    narFileIn(source, info.file.url, (why, code) => refused(info, source, why, code));
  let promise = promised(info);
  if (prove || !isProvable(promise)) {
    const { bytes } = await ask();
    promise = provenBy(info, { facts: await checkNar(bytes, claimFor(info)) }, source);
  }
  const { fileHash, fileSize } = promise as Required<Promised>;
  const file = landed(info, promise, { fileHash, fileSize }, source);
  let wrong: unknown;
  async function* checked(): AsyncGenerator<Uint8Array> {
    const { size = fileSize, bytes } = await ask();
    const sum = createHash(algorithmFor(promise));
    let read = 0;
    let last: Uint8Array | undefined; // goes out when the sum is right: else the put fails
    for await (const chunk of bytes) {
      sum.update(chunk);
      read += chunk.length;
      if (size !== fileSize || read > fileSize)
        landed(info, promise, { fileSize: Math.max(size, read) }, source);
      if (last) yield last;
      last = chunk;
    }
    const readHash = hashOf(algorithmFor(promise), sum.digest());
    landed(info, promise, { fileHash: readHash, fileSize: read }, source);
    if (last) yield last;
  }
  const open = async function* () {
    wrong = undefined;
    try {
      yield* checked();
    } catch (error) {
      wrong = error;
      throw error;
    }
  };
  try {
    await storage.put(file.url, { size: fileSize, open });
  } catch (error) {
    throw wrong ?? stopping(error, storage);
  }
  return file;
}

/** A file of which nothing was read has no hash. */
type Read = (Promised & { readonly fileSize: number; readonly isThere?: true }) | Unread;

/** The file in the target, when what was read is what was promised. */
function landed(info: NarInfo, promise: Promised, read: Read, source: Storage): KnownFile {
  const { url, compression } = info.file;
  const { fileHash, fileSize } = promise;
  if ('code' in read) throw unread(info, read, source);
  if (fileSize !== undefined && read.fileSize !== fileSize)
    throw refused(info, source, `${url} has ${read.fileSize} bytes, its narinfo says ${fileSize}`);
  if (fileHash !== undefined && read.fileHash !== undefined && read.fileHash !== fileHash) {
    const why = `${url} has the hash ${read.fileHash}, its narinfo says ${fileHash}`;
    throw refused(info, source, why);
  }
  const known = (read.fileHash ?? fileHash)!;
  const key = targetKey(info.file, known);
  return { url: key, compression, fileHash: known, fileSize: read.fileSize };
}

/** What a file is whose NAR was looked at, when that is the one of the narinfo. */
function provenBy(info: NarInfo, result: CheckResult, source: Storage): Required<Promised> {
  if (!('facts' in result)) throw unread(info, result, source);
  const [wrong] = narFindings(info, result.facts as NarFacts);
  if (wrong) throw refused(info, source, wrong.message, codeOf(wrong));
  return result.facts;
}

const claimFor = (info: NarInfo) => claimOf([info], { listingLimit: 0 });

function unread(info: NarInfo, { code, message }: Unread, source: Storage): GranaryError {
  const { url } = info.file;
  if (code === 'ENOENT') return refused(info, source, `${url} is not there`);
  const told = `Cannot copy ${info.path} from ${source.url}: ${url} cannot be read: ${message}`;
  return new GranaryError('unavailable', told, { key: url });
}

/**
 * Shares the file, or where that cannot be its blocks; undefined where neither can, or nothing could prove it later. A
 * file that is there under that name, and has that size, stays: nobody read the other one.
 */
async function linked(
  info: NarInfo,
  { from, to }: { readonly from: string; readonly to: string },
  { storage, prove }: Pick<TransferInto, 'storage' | 'prove'>,
): Promise<Read | undefined> {
  const stat = lstatSync(from, { throwIfNoEntry: false });
  if (!stat) return { code: 'ENOENT', message: 'it is not there' };
  if (!stat.isFile()) return { code: 'EINVAL', message: 'it is no file' };
  const { fileHash } = promised(info);
  if (fileHash === undefined) return undefined;
  const read = { fileSize: stat.size };
  const { url } = landed(info, { fileHash }, read, storage);
  if (!prove && (await storage.head(url))?.size === stat.size) return { ...read, isThere: true };
  try {
    linkSync(from, to);
    return read;
  } catch {
    // another disk, or somebody else's file
  }
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return read;
  } catch {
    rmSync(to, { force: true });
    return undefined;
  }
}

const algorithmFor = ({ fileHash }: Promised): HashAlgorithm =>
  fileHash === undefined ? 'sha256' : algorithmOf(fileHash);

function badUrl({ file, path }: NarInfo, source: Storage): GranaryError | undefined {
  if (isKey(file.url) || source.follow) return undefined;
  const message = `Cannot copy ${path} from ${source.url}: its URL "${file.url}" is no plain path inside the cache`;
  return new GranaryError('malformed', message, { path });
}

/** The URL is only the source's word for the file: in the target its hash names it, whatever lies there already. */
function targetKey({ url, compression }: PackedNar, fileHash: Hash): string {
  const known = Object.hasOwn(codecs, compression) ? codecFor(compression).extension : '';
  const extension = /\.nar(\.[a-z0-9]{1,8})?$/.exec(url)?.[0] ?? `.nar${known}`;
  return `nar/${encodeBase32(digestOf(fileHash))}${extension}`;
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
