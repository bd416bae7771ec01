/**
 * Moves paths between caches with another compression: threads unpack each NAR file, prove it against its narinfo, and
 * pack what comes out as `make` would, in one pass. What lies far away is spooled first.
 */
import { closeSync, openSync } from 'node:fs';
import type { WritableCompression } from '../cache/codec.ts';
import { GranaryError } from '../errors.ts';
import type { BareInfo, NarInfo } from '../format/narinfo.ts';
import { hashPart } from '../format/store-path.ts';
import { openSpool, type Spool } from '../storage/spool.ts';
import type { Storage } from '../storage/storage.ts';
import { writeFully } from '../storage/write-fully.ts';
import { each } from './each.ts';
import { guarded, type Landing, refused, type Transfer, writeError } from './landing.ts';
import { narFileIn, promised, type Refuse } from './nar-file.ts';
import { groupsOf, packSettings, putNar, threadsFor } from './pack-all.ts';
import { PackPool } from './pack-pool.ts';
import type { Packed, PackResult } from './pack-protocol.ts';
import { withSoundUrls } from './transfer.ts';

/** How to pack. */
export interface Packing {
  readonly compression: WritableCompression;
  readonly level: number;
}

interface RepackInto extends Landing {
  readonly packing: Packing;
  /** Packing threads. */
  readonly jobs: number;
  /** Hears of NAR bytes of a big path before it is done; they are taken back then. */
  readonly progress: (narBytes: number) => void;
}

/** Files at once, where each is a way to go, and groups that are fetched while others are packed. */
const farFiles = 8;
const farGroups = 4;

/** Packs each anew and hands it to the publisher. What fails by itself is kept in `failed`. */
export async function repackAll(all: readonly Transfer[], into: RepackInto): Promise<void> {
  const { source, storage, packing, jobs, progress } = into;
  const groups = groupsOf(withSoundUrls(all, into));
  if (groups.length === 0) return;
  const threads = threadsFor(groups, { ...packing, jobs });
  using spool = openSpool(storage);
  await using pool = new PackPool(packSettings(storage, { ...packing, listings: false }));
  pool.onProgress = progress;
  pool.start(threads);
  const lanes = threads + (source.local ? 1 : farGroups);
  await each(groups, lanes, async group => {
    const tasks: Task[] = [];
    await each(group, source.local ? 1 : farFiles, async one => {
      const file = await fileOf(one, into, spool);
      if (file !== undefined) tasks.push({ one, file, made: spool.name(nameFor(one, '.nar')) });
    });
    const results = await pool.pack(
      tasks.map(({ one, file, made }) => ({
        content: { file, info: bareOf(one.info) },
        spool: made,
      })),
    );
    for (const [at, { one, file, made }] of tasks.entries()) {
      await guarded(one, into, async () => {
        const packed = packedIn(results[at]!, one.info, source);
        progress(-packed.toldBytes);
        const put = await putNar(storage, packed, made, packing.compression);
        spool.done(made);
        return put;
      });
      spool.drop(made); // nothing is there if it was put
      if (!source.local) spool.drop(file);
    }
  });
}

interface Task {
  readonly one: Transfer;
  /** What the source has. */
  readonly file: string;
  /** Where what is packed of it goes. */
  readonly made: string;
}

const nameFor = ({ info }: Transfer, extension: string): string =>
  `nar/${hashPart(info.path)}${extension}`;

/** The NAR file on this machine; undefined, and why in `failed`, when it cannot be had. */
async function fileOf(
  one: Transfer,
  { source, storage, failed, patience }: RepackInto,
  spool: Spool,
): Promise<string | undefined> {
  if (source.local) return source.local(one.info.file.url);
  const file = spool.name(nameFor(one, '.from'));
  try {
    await fetchTo(file, one.info, source);
    return file;
  } catch (error) {
    spool.drop(file);
    if (!(error instanceof GranaryError)) throw writeError(storage, error);
    failed.set(one.info.path, error);
    patience.failed(error);
    return undefined;
  }
}

/** Takes no more than the size that is stated: what comes after it is none of the file. */
async function fetchTo(file: string, info: NarInfo, source: Storage): Promise<void> {
  const { url, fileSize } = info.file;
  const refuse: Refuse = (why, code) => refused(info, source, why, code);
  const found = await narFileIn(source, url, refuse);
  const limit = promised(info).fileSize ?? found.size;
  const fd = openSync(file, 'wx');
  try {
    let size = 0;
    for await (const chunk of found.bytes) {
      size += chunk.length;
      if (limit === undefined)
        throw refuse(`neither its narinfo nor the server says how big ${url} is`);
      if (size > limit)
        throw refuse(`${url} has over ${limit} bytes, its narinfo says ${fileSize}`);
      writeFully(fd, chunk);
    }
  } finally {
    closeSync(fd);
  }
}

function packedIn(result: PackResult, info: NarInfo, source: Storage): Packed {
  if ('packed' in result) return result.packed;
  const { code, message, facts } = result.failure;
  if (code === undefined) throw new Error(message); // a bug: its stack is the message
  if (facts?.stops !== undefined) throw new GranaryError(code, message, facts);
  throw refused(info, source, message, code);
}

/** What a thread needs to know; signatures and the text would only travel. */
const bareOf = ({ signatures: _, text: __, ...bare }: NarInfo): BareInfo => bare;
