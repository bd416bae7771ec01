/** A Store knows store paths and gives their bytes. Where they come from is its own affair. */
import type { Bytes } from '../bytes.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { Realisation } from '../format/realisation.ts';
import type { StoreDir, StorePath } from '../format/store-path.ts';
import type { SshPlace } from './ssh-place.ts';

/** Where content is to be had, as plain data that a thread can be sent. */
export type Content =
  /** The file, folder or link on this machine, in latin-1. */
  | { readonly tree: string }
  /** The daemon at this socket gives its NAR. */
  | { readonly daemon: string; readonly path: StorePath }
  /** The Nix on this machine gives its NAR. */
  | { readonly ssh: SshPlace; readonly path: StorePath };

/** What a store says of itself: a daemon of its Nix, a database of its paths. */
interface StoreFacts {
  readonly nixVersion?: string;
  /** Whether the daemon does for us what only trusted users may ask for; undefined when it does not say. */
  readonly trusted?: boolean;
  /** The database's file, and how many paths it holds. */
  readonly database?: string;
  readonly paths?: number;
}

export interface Store {
  /** As messages name it. */
  readonly url: string;
  /** The directory that its store paths begin with, wherever their files really lie. */
  readonly storeDir: StoreDir;
  info(path: StorePath): Promise<PathInfo | undefined>;
  /** The path with this hash part, if the store has one. */
  byHashPart(hash: string): Promise<PathInfo | undefined>;
  about?(): Promise<StoreFacts>;
  /** The infos of these paths and of all that they refer to; what the store lacks is left out. */
  closure?(roots: readonly StorePath[]): Promise<ReadonlyMap<StorePath, PathInfo>>;
  /** Where the path's content is. */
  content(path: StorePath): Content;
  /** What the store knows of derivation outputs that are these paths, where it records such. */
  realisations?(paths: readonly StorePath[]): Promise<readonly Realisation[]>;
  /** The file on this machine with the log of a derivation's build, plain or by bzip2. */
  log?(derivation: StorePath): string | undefined;
  /** What to do when a path is not what the store says of it. */
  readonly advice: (path: StorePath) => string;
  /** The store path that a file name on this machine belongs to, if it lies in this store. */
  pathOf(file: string): StorePath | undefined;
}

/** A path to add: its NAR is read once, when its turn comes. */
export interface PathToAdd {
  readonly info: PathInfo;
  nar(): Bytes;
}

/** A store that Nix writes for us: it proves what comes, and believes only what it trusts. */
export interface WritableStore extends Store {
  /** Those of these paths that the store has. */
  valid(paths: readonly StorePath[]): Promise<ReadonlySet<StorePath>>;
  /** The infos of paths that the store has, asked for together. */
  infos(valid: readonly StorePath[]): Promise<readonly PathInfo[]>;
  /**
   * Adds paths in this order, references before referrers; what is there already is passed over. When it fails, it is
   * over: those before the one that failed were added, and nothing more will be.
   *
   * @throws GranaryError `untrusted` when the store believes no signature of one, `corrupt` when a NAR is not what its
   * info says, or what `nar` throws
   */
  add(paths: readonly PathToAdd[]): Promise<void>;
}
