/**
 * Plain trees as store paths: what `nix store add-path` makes of a file or folder, without Nix. The
 * path comes from the NAR's hash, so clients need no signature to believe it.
 */
import { createHash } from 'node:crypto';
import { lstatSync, type Stats } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { latin1, readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { contentAddressedPath, makeContentAddress } from '../format/content-address.ts';
import { hashOf } from '../format/hash.ts';
import type { PathInfo } from '../format/path-info.ts';
import { hashPart, isStorePathName, type StoreDir, type StorePath } from '../format/store-path.ts';
import { dumpTree, fsName } from './filesystem.ts';
import type { Store } from './store.ts';

/** A tree to add: where it lies (latin-1), and the name of its store path. */
export interface PlainTree {
  readonly file: string;
  readonly name: string;
}

/**
 * Reads `PATH[=NAME]`; NAME is what follows the last `=`, or else the last part of PATH.
 *
 * @throws GranaryError `usage` when that is no name of a store path, or PATH is a link with a slash
 * behind it; `absent` when nothing is there
 */
export function parsePlainTree(text: string): PlainTree {
  const [, path, given] = /^(.*)=([^=]*)$/s.exec(text) ?? [undefined, text, undefined];
  const file = latin1(Buffer.from(path!)).replace(/(?<=.)\/+$/s, '');
  const stat = lstatOf(file, text);
  if (stat.isSymbolicLink() && path!.endsWith('/'))
    throw new GranaryError(
      'usage',
      `Cannot add "${path}": it is a link with a slash behind it; leave the slash out to add the link, or name the folder that it leads to`,
    );
  const name = given ?? basename(file);
  if (isStorePathName(name) && name !== '.' && name !== '..') return { file, name };
  throw new GranaryError(
    'usage',
    `Cannot add "${path}" as "${readable(name)}": that is no name for a store path (1 to 211 of 0-9 A-Z a-z + - . _ ? =, not "." or ".."); give one with --add ${path}=NAME`,
  );
}

function lstatOf(file: string, text: string): Stats {
  try {
    return lstatSync(fsName(file));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const gone = code === 'ENOENT' || code === 'ENOTDIR';
    throw new GranaryError(
      gone ? 'absent' : 'unavailable',
      `Cannot add "${text}": ${gone ? 'there is nothing of that name' : message}`,
      {},
      error,
    );
  }
}

/** Blocks between two looks at the world: an interrupt must not wait for a big tree. */
const breath = 64;

/** The store that holds just these trees. Each is read once now, to learn its hash. */
export async function addedStore(
  trees: readonly PlainTree[],
  storeDir: StoreDir,
): Promise<AddedStore> {
  const infos = new Map<StorePath, PathInfo>();
  const files = new Map<StorePath, string>();
  for (const { file, name } of trees) {
    const info = await addressed(file, name, storeDir);
    infos.set(info.path, info);
    files.set(info.path, file);
  }
  return {
    url: '--add',
    storeDir,
    roots: [...infos.keys()],
    info: async path => infos.get(path),
    advice: () => 'it changed while it was read; run the same command again',
    byHashPart: async hash => [...infos.values()].find(({ path }) => hashPart(path) === hash),
    content: path => ({ tree: files.get(path)! }),
    pathOf: () => undefined,
  };
}

export interface AddedStore extends Store {
  readonly roots: readonly StorePath[];
}

async function addressed(file: string, name: string, storeDir: StoreDir): Promise<PathInfo> {
  const sum = createHash('sha256');
  const blocks = [Buffer.allocUnsafeSlow(1 << 20), Buffer.allocUnsafeSlow(1 << 20)] as const;
  let turn = 0; // one is filled while the other is summed
  const block = (): Buffer => blocks[turn++ % 2 === 0 ? 0 : 1];
  let narSize = 0;
  for (const bytes of dumpTree(file, { block, listing: false })) {
    sum.update(bytes);
    narSize += bytes.length;
    if (turn % breath === 0) await setImmediate();
  }
  const narHash = hashOf('sha256', sum.digest());
  const ca = makeContentAddress('nar', narHash);
  const path = contentAddressedPath(ca, name, storeDir, [], false);
  return { path, narHash, narSize, references: [], ca, signatures: [] };
}
