/** The NAR in a file of a cache, in blocks, proven against its narinfo. */
import { checkedNar } from '../cache/nar-check.ts';
import { GranaryError } from '../errors.ts';
import { fileChunks } from './file-chunks.ts';
import type { PackedContent } from './pack-protocol.ts';
import { claimOf, codeOf, narFindings } from './verify-nar.ts';

/**
 * All blocks but the last are full, as those of `dumpTree`: what is packed of them is the same. A block that was
 * yielded belongs to the caller.
 *
 * @throws GranaryError `corrupt`, at the end, for what is not what its narinfo says, `unavailable` when it cannot be
 * read; its message tells of the file alone
 */
export async function* unpacked(
  { file, info }: PackedContent,
  block: () => Buffer,
): AsyncGenerator<Buffer, undefined> {
  const { url, compression, fileSize } = info.file;
  const bytes = fileChunks(file, compression === 'zstd');
  const nar = checkedNar(bytes, claimOf([info], { listingLimit: 0 }), true);
  const next = () => nar.next().catch(error => unreadable(error, url));
  let out = block();
  let filled = 0;
  let came = await next();
  for (; !came.done; came = await next()) {
    for (let at = 0; at < came.value.length; ) {
      if (filled === out.length) {
        yield out;
        out = block();
        filled = 0;
      }
      const part = came.value.subarray(at, at + out.length - filled);
      out.set(part, filled);
      at += part.length;
      filled += part.length;
    }
  }
  const facts = came.value;
  if (fileSize !== undefined && facts.fileSize !== fileSize)
    throw new GranaryError(
      'corrupt',
      `${url} has ${facts.fileSize} bytes, its narinfo says ${fileSize}`,
    );
  const [wrong] = narFindings(info, facts);
  if (wrong) throw new GranaryError(codeOf(wrong), wrong.message);
  yield out.subarray(0, filled);
}

/** What cannot be read is not to be taken for what cannot be written. */
function unreadable(error: unknown, url: string): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined || error instanceof GranaryError) throw error;
  if (code === 'ENOENT') throw new GranaryError('corrupt', `${url} is not there`);
  throw new GranaryError('unavailable', `${url} cannot be read: ${message}`);
}
