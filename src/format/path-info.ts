import type { ContentAddress } from './content-address.ts';
import type { Hash } from './hash.ts';
import type { Signature } from './signature.ts';
import type { StorePath } from './store-path.ts';

/** What is known of a store path: first what a signature covers, then what it does not. */
export interface PathInfo {
  readonly path: StorePath;
  readonly narHash: Hash;
  /** bytes */
  readonly narSize: number;
  /** sorted by base name, the path itself included where it refers to itself */
  readonly references: readonly StorePath[];
  readonly deriver?: StorePath;
  readonly ca?: ContentAddress;
  readonly signatures: readonly Signature[];
}
