/** The NAR file of a path in some cache: what it should be, and its bytes. */
import type { Bytes } from '../bytes.ts';
import { getNar } from '../cache/cache.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import type { Hash } from '../format/hash.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { Found, Storage } from '../storage/storage.ts';

/** What is known of a file before it was read. */
export interface Promised {
  readonly fileHash?: Hash;
  /** bytes */
  readonly fileSize?: number;
}

/** What a narinfo says of its file. One that is not compressed is the NAR itself. */
export function promised({ file, narHash, narSize }: NarInfo): Promised {
  if (file.compression !== 'none') return file;
  return { fileHash: file.fileHash ?? narHash, fileSize: file.fileSize ?? narSize };
}

/** Whether the bytes of a file can be proven without looking into it. */
export const isProvable = (promise: Promised): promise is Required<Promised> =>
  promise.fileHash !== undefined && promise.fileSize !== undefined;

/** Makes the error of who asked: why the file cannot be had. */
export type Refuse = (why: string, code?: ErrorCode) => GranaryError;

/** The file. What the system says of reading it is told of the source: it is no disk that cannot be written. */
export async function narFileIn(source: Storage, url: string, refuse: Refuse): Promise<Found> {
  const unread = (error: unknown): unknown => {
    const { code, message } = error as NodeJS.ErrnoException;
    const isOfSystem = !(error instanceof GranaryError) || error.facts.errno !== undefined;
    if (code === undefined || !isOfSystem) return error;
    return refuse(`${url} cannot be read: ${message}`, 'unavailable');
  };
  async function* read(bytes: Bytes): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes;
    } catch (error) {
      throw unread(error);
    }
  }
  const found = await getNar(source, url).catch(error => {
    throw unread(error);
  });
  if (!found) throw refuse(`${url} is not there`);
  return { ...found, bytes: read(found.bytes) };
}
