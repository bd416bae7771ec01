/**
 * Granary as a library: formats, stores to read from, storages to write to, and the verbs over them.
 *
 * @example
 * const storage = openStorage('./cache');
 * const store = openStore('auto');
 * const roots = [resolveRoot('./result', store)];
 * const plan = await planMake([{ store, roots }], storage, { storeDir: store.storeDir, listings: false });
 */
export { type Bytes, collect, readable } from './bytes.ts';
export { type CacheInfoChanges, readNarInfo } from './cache/cache.ts';
export { type Codec, codecFor, type WritableCompression } from './cache/codec.ts';
export { type ErrorCode, type ErrorFacts, errorTable, GranaryError } from './errors.ts';
export { closureOf, topological } from './flow/closure.ts';
export { executeMake, type MadeSummary, type MakeEvent, type MakeOptions } from './flow/make.ts';
export { type MakePlan, type Pack, planMake, type Source } from './flow/plan.ts';
export { decodeBase32, encodeBase32 } from './format/base32.ts';
export { type CacheInfo, parseCacheInfo, withCacheInfo } from './format/cache-info.ts';
export {
  type ContentAddress,
  contentAddressedPath,
  hashModulo,
  makeContentAddress,
  parseContentAddress,
} from './format/content-address.ts';
export {
  algorithmOf,
  digestOf,
  type Hash,
  hashOf,
  hexOf,
  parseHash,
  sha256,
} from './format/hash.ts';
export { type ListingNode, parseListing, printListing } from './format/nar-listing.ts';
export { NarReader, readNar } from './format/nar-read.ts';
export type { NarEvent, NarFile } from './format/nar-wire.ts';
export { writeNar } from './format/nar-write.ts';
export {
  type Compression,
  type NarInfo,
  narInfoKey,
  type PackedNar,
  parseCompression,
  parseNarInfo,
  printNarInfo,
} from './format/narinfo.ts';
export type { PathInfo } from './format/path-info.ts';
export { parseReferencesGraph, type ReferencesGraph } from './format/references-graph.ts';
export { fingerprint, keyNameOf, parseSignature, type Signature } from './format/signature.ts';
export {
  baseName,
  defaultStoreDir,
  hashPart,
  namePart,
  parseStoreDir,
  parseStorePath,
  type StoreDir,
  type StorePath,
} from './format/store-path.ts';
export { directoryStorage } from './storage/directory.ts';
export { type HttpOptions, httpStorage } from './storage/http.ts';
export { memoryStorage } from './storage/memory.ts';
export { openStorage } from './storage/open.ts';
export { type RetryPolicy, usualRetry } from './storage/retry.ts';
export {
  type Body,
  bodyOf,
  type Entry,
  type Found,
  type Span,
  type Stat,
  type Storage,
} from './storage/storage.ts';
export { type AddedStore, addedStore, type PlainTree, parsePlainTree } from './store/added.ts';
export { type DaemonStore, daemonStore } from './store/daemon.ts';
export { dumpTree } from './store/filesystem.ts';
export { graphStore } from './store/graph.ts';
export { type LocalPlaces, localStore } from './store/local.ts';
export { openStore, openStoreToWrite, placesOf, type StorePlaces } from './store/open.ts';
export { resolveRoot } from './store/roots.ts';
export type { Content, PathToAdd, Store, WritableStore } from './store/store.ts';
export { version } from './version.ts';
