/** From a NAR file in the target to its narinfo: what belongs to the path comes along, and what fails takes only itself. */
import { listingEntry, listingKey, longText, readText } from '../cache/cache.ts';
import { type ErrorCode, GranaryError, systemError } from '../errors.ts';
import { type ListingNode, parseListing } from '../format/nar-listing.ts';
import { type KnownFile, type NarInfo, narInfoKey, type PackedNar } from '../format/narinfo.ts';
import { withFile, withSignatures } from '../format/narinfo-edit.ts';
import type { Signature } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import type { Patience } from './patience.ts';
import type { Publisher } from './publisher.ts';
import type { SideFiles } from './side-files.ts';

/** A path to move. */
export interface Transfer {
  /** As the source has it. */
  readonly info: NarInfo;
  /** What its narinfo gets beside its own. */
  readonly signatures: readonly Signature[];
}

/** What a path needs to become visible. */
export interface Landing {
  readonly source: Storage;
  readonly storage: Storage;
  readonly publisher: Publisher;
  readonly failed: Map<StorePath, GranaryError>;
  /** For a source far away. */
  readonly patience: Patience;
  readonly beside: SideFiles;
  /** Told of each path that is ready. */
  readonly moved: (info: NarInfo) => void;
}

/** Hands what `put` gives to the publisher, with what belongs to it, or keeps why not. */
export async function guarded(
  { info, signatures }: Transfer,
  into: Landing,
  put: () => Promise<KnownFile>,
): Promise<void> {
  const { source, publisher, patience, beside, moved } = into;
  try {
    const file = await put();
    const listing = await listingOf(info, source);
    await beside.bring(info, file, listing?.root);
    publisher.readyAs(info, file, entriesOf(info, file, signatures, listing?.text));
    moved(info);
    patience.answered();
  } catch (error) {
    keepFailure(error, info, into);
  }
  await publisher.publishIfDue();
}

/** Keeps why a path failed. @throws what the next would fail with as well */
export function keepFailure(
  error: unknown,
  { path }: NarInfo,
  {
    source,
    storage,
    failed,
    patience,
  }: Pick<Landing, 'source' | 'storage' | 'failed' | 'patience'>,
): void {
  if (!(error instanceof GranaryError)) throw writeError(storage, error);
  if (error.facts.stops !== undefined || error.facts.errno !== undefined) throw error;
  failed.set(path, error);
  if (source.isFar) patience.failed(error);
}

/** The listing, if there is one that can be read: it is not looked for in the NAR. */
async function listingOf(
  info: NarInfo,
  source: Storage,
): Promise<{ readonly text: string; readonly root: ListingNode } | undefined> {
  const key = listingKey(info.path);
  try {
    const text = await readText(source, key, longText);
    return text === undefined ? undefined : { text, root: parseListing(text) };
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    if (error.code === 'malformed') return undefined;
    throw refused(info, source, error.message, error.code);
  }
}

/** The narinfo, and the listing if there is one. */
function entriesOf(
  info: NarInfo,
  file: PackedNar,
  signatures: readonly Signature[],
  listing: string | undefined,
): readonly Entry[] {
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
  const listed = listing === undefined ? [] : [listingEntry(info.path, listing)];
  return [...listed, { key: narInfoKey(info.path), body: bodyOf(text) }];
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

/** What comes next would fail as well. */
export const stopping = (error: unknown, storage: Storage): unknown =>
  error instanceof GranaryError
    ? new GranaryError(error.code, error.message, { ...error.facts, stops: 'all' }, error)
    : writeError(storage, error);

/** A disk that cannot be written stops everything; a bug stays a bug. */
export const writeError = (storage: Storage, error: unknown): unknown =>
  (error as NodeJS.ErrnoException).code === undefined
    ? error
    : systemError(`write a NAR file in ${storage.url}`, error);
