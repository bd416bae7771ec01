/** Takes paths out of another cache as they are: the compressed file moves, after it was proven. */
import { closeSync, openSync } from 'node:fs';
import { narKey } from '../cache/cache.ts';
import { codecs, type WritableCompression } from '../cache/codec.ts';
import { checkNar, type NarFacts } from '../cache/nar-check.ts';
import { type ErrorCode, GranaryError, systemError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { Signature } from '../format/signature.ts';
import { hashPart, type StorePath } from '../format/store-path.ts';
import { openSpool, spooled } from '../storage/spool.ts';
import type { Storage } from '../storage/storage.ts';
import { writeFully } from '../storage/write-fully.ts';
import { each } from './each.ts';
import { narFileIn } from './nar-file.ts';
import type { Publisher } from './publisher.ts';
import { claimOf, narFindings } from './verify-nar.ts';

/** A path in another cache. */
export interface Take {
  readonly info: NarInfo;
  readonly source: Storage;
  readonly signatures: readonly Signature[];
  readonly listing: boolean;
}

interface Target {
  readonly storage: Storage;
  readonly publisher: Publisher;
  readonly failed: Map<StorePath, GranaryError>;
  readonly jobs: number;
}

/** Puts the NAR of each, once its bytes are proven, and hands it to the publisher. */
export async function takeAll(takes: readonly Take[], into: Target): Promise<void> {
  const { storage, publisher, failed, jobs } = into;
  using spool = openSpool(storage);
  await each(takes, jobs, async ({ info, source, signatures, listing }) => {
    const { compression } = info.file;
    const name = spool.name(`nar/${hashPart(info.path)}.nar`); // its URL may be anything
    try {
      const facts = await spoolChecked(source, info, name, listing);
      const key = narKey(facts.fileHash, compression as WritableCompression);
      await storage.put(key, spooled(name, facts.fileSize));
      const { fileHash, fileSize } = facts;
      const file = { url: key, compression, fileHash, fileSize };
      publisher.ready({ ...info, signatures }, file, facts);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw writeError(storage.url, error);
      if (error.facts.errno !== undefined) throw error;
      failed.set(info.path, error);
    } finally {
      spool.drop(name);
    }
  });
}

/** Writes the file to `spool`, and says what it is; only for one that is all that its narinfo says. */
async function spoolChecked(
  source: Storage,
  info: NarInfo,
  spool: string,
  listing: boolean,
): Promise<NarFacts> {
  const { url, compression } = info.file;
  const refuse = (why: string, code: ErrorCode = 'corrupt'): GranaryError =>
    new GranaryError(code, `Cannot take ${info.path} from ${source.url}: ${why}`, { key: url });
  if (!Object.hasOwn(codecs, compression)) throw refuse(`its ${compression} cannot be read`);
  const found = await narFileIn(source, url, refuse);
  const fd = openSync(spool, 'wx');
  try {
    async function* written(): AsyncGenerator<Uint8Array> {
      for await (const chunk of found.bytes) {
        writeFully(fd, chunk);
        yield chunk;
      }
    }
    const facts = await checkNar(
      written(),
      claimOf([info], { listingLimit: listing ? Number.POSITIVE_INFINITY : 0 }),
    );
    const [wrong] = narFindings(info, facts);
    if (wrong) throw refuse(wrong.message);
    return facts;
  } finally {
    closeSync(fd);
  }
}

/** A disk that cannot be written stops everything; a bug stays a bug. */
const writeError = (where: string, error: unknown): unknown =>
  (error as NodeJS.ErrnoException).code === undefined
    ? error
    : systemError(`write a NAR file in ${where}`, error);
