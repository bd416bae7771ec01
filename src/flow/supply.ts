/**
 * Where the paths of an import come from: a cache, whose NAR files are decompressed, or another store. A NAR is proven
 * on its way, and its last bytes are held back until it is: who gets the end of one has a right one.
 */
import { createHash } from 'node:crypto';
import { statedStoreDir } from '../cache/cache.ts';
import { codecs } from '../cache/codec.ts';
import { checkedNar, type NarFacts } from '../cache/nar-check.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import { hashOf } from '../format/hash.ts';
import type { NarInfo, PackedNar } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import {
  defaultStoreDir,
  parseStoreDir,
  type StoreDir,
  type StorePath,
} from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { openContents } from '../store/content.ts';
import type { Store } from '../store/store.ts';
import type { Broken } from './broken.ts';
import { closureOf, infosOf } from './closure.ts';
import { narFileIn, type Refuse } from './nar-file.ts';
import { readNarInfos, readsAtOnce } from './read-cache.ts';
import { claimOf, narFindings } from './verify-nar.ts';

export interface Supply<Info extends Supplied = Supplied> {
  /** As messages name it. */
  readonly url: string;
  readonly storeDir: StoreDir;
  /** Whether each NAR is a way to go. */
  readonly isFar: boolean;
  /** NARs that are worth reading at once. */
  readonly atOnce: number;
  /** The infos of what is wanted, but for those that are left out, with what only they refer to where that is known. */
  read(wish: SupplyWish): Promise<Read<Info>>;
  /**
   * The NAR of a path.
   *
   * @throws GranaryError `corrupt` before its last bytes, if it is not the one that the info promises
   */
  nar(info: Info): AsyncGenerator<Uint8Array>;
}

/** A path, and of a cache the file that holds it. */
type Supplied = PathInfo & { readonly file?: PackedNar };

interface SupplyWish {
  /** Exactly the roots, whatever they refer to. */
  readonly noClosure: boolean;
  readonly leaveOut: (info: PathInfo) => Promise<boolean>;
}

interface Read<Info> {
  readonly infos: ReadonlyMap<StorePath, Info>;
  readonly roots: readonly StorePath[];
  /** Narinfos of a cache that cannot be used. */
  readonly broken?: Broken;
}

/** Of a cache: the closures of these store paths, base names or hash parts, or without any all that can be listed. */
export async function cacheSupply(
  cache: Storage,
  roots: readonly string[] | undefined,
): Promise<Supply<NarInfo>> {
  const storeDir = parseStoreDir((await statedStoreDir(cache)) ?? defaultStoreDir);
  return {
    url: cache.url,
    storeDir,
    isFar: cache.isFar === true,
    atOnce: readsAtOnce(cache),
    read: ({ noClosure, leaveOut }) =>
      readNarInfos(cache, storeDir, { roots, alone: noClosure, partly: true, leaveOut }),
    nar: info => {
      const claim = claimOf([info], { listingLimit: 0 });
      const nar = checkedNar(bytesOf(info, cache), claim);
      return provenAtItsEnd(nar, (facts: NarFacts) => {
        const [wrong] = narFindings(info, facts);
        if (wrong) throw refused(info, cache.url, wrong.message);
      });
    },
  };
}

/** Of a store: the closures of these paths. */
export function storeSupply(store: Store, roots: readonly StorePath[]): Supply<PathInfo> {
  const narOf = openContents();
  async function* summed(info: PathInfo): AsyncGenerator<Uint8Array, Sums> {
    const sum = createHash('sha256');
    let narSize = 0;
    const block = ring(3); // one is filled while another is held back and a third is sent
    for await (const bytes of await narOf(store.content(info.path), { block, listing: false })) {
      sum.update(bytes);
      narSize += bytes.length;
      if (narSize > info.narSize) {
        const why = `its NAR has more than the ${info.narSize} bytes that the store says`;
        throw refused(info, store.url, `${why}; ${store.advice(info.path)}`);
      }
      yield bytes;
    }
    return { narHash: hashOf('sha256', sum.digest()), narSize };
  }
  return {
    url: store.url,
    storeDir: store.storeDir,
    isFar: false,
    atOnce: 1,
    read: async ({ noClosure, leaveOut }) => {
      const infos = new Map<StorePath, PathInfo>();
      for (const info of await (noClosure ? infosOf : closureOf)(roots, store))
        if (!(await leaveOut(info))) infos.set(info.path, info);
      return { infos, roots };
    },
    nar: info =>
      provenAtItsEnd(summed(info), ({ narHash, narSize }) => {
        const { path } = info;
        const [what, is, said] =
          narHash === info.narHash
            ? ['NarSize', narSize, info.narSize]
            : ['NarHash', narHash, info.narHash];
        if (is === said) return;
        const why = `its ${what} is ${is}, but the store says ${said}; ${store.advice(path)}`;
        throw refused(info, store.url, why);
      }),
  };
}

interface Sums {
  readonly narHash: string;
  readonly narSize: number;
}

/** Big blocks, given in turn. */
function ring(count: number): () => Buffer {
  const blocks: Buffer[] = [];
  let turn = 0;
  return () => {
    const at = turn++ % count;
    blocks[at] ??= Buffer.allocUnsafeSlow(1 << 20);
    return blocks[at];
  };
}

async function* provenAtItsEnd<Facts>(
  nar: AsyncGenerator<Uint8Array, Facts>,
  check: (facts: Facts) => void,
): AsyncGenerator<Uint8Array> {
  let last: Uint8Array | undefined;
  try {
    for (;;) {
      const { done, value } = await nar.next();
      if (done) {
        check(value);
        break;
      }
      if (last) yield last;
      last = value;
    }
    if (last) yield last;
  } finally {
    await nar.return(undefined as Facts); // where nobody wants the rest
  }
}

async function* bytesOf(info: NarInfo, cache: Storage): AsyncGenerator<Uint8Array> {
  const { url, compression } = info.file;
  const refuse: Refuse = (why, code) => refused(info, cache.url, why, code);
  if (!Object.hasOwn(codecs, compression))
    throw refuse(`its ${compression} cannot be read in this version`, 'usage');
  yield* (await narFileIn(cache, url, refuse)).bytes;
}

const refused = (
  { path, file }: Supplied,
  source: string,
  why: string,
  code: ErrorCode = 'corrupt',
): GranaryError =>
  new GranaryError(code, `Cannot copy ${path} from ${source}: ${why}`, {
    path,
    ...(file === undefined ? {} : { key: file.url }),
  });
