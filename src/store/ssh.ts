/**
 * A store on another machine, behind ssh: what nix-copy-closure does, both ways. Whoever logs in there asks `nix-store
 * --serve --write`, which proves NarHash and size of what it is given, and asks for no signature, unless a daemon
 * writes the store for who logs in.
 */
import { GranaryError } from '../errors.ts';
import { readNumber, readPaths } from '../format/daemon-wire.ts';
import type { ListingNode } from '../format/nar-listing.ts';
import { NarReader } from '../format/nar-read.ts';
import type { PathInfo } from '../format/path-info.ts';
import {
  announceNar,
  askClosure,
  askNar,
  askPathInfos,
  askValidPaths,
  readInfos,
} from '../format/serve-wire.ts';
import type { StorePath } from '../format/store-path.ts';
import type { DumpOptions } from './filesystem.ts';
import { narBlocks } from './incoming.ts';
import { pathWithin } from './roots.ts';
import { Remote, type SshConnection } from './ssh-connection.ts';
import type { SshPlace } from './ssh-place.ts';
import type { PathToAdd, WritableStore } from './store.ts';

/** Paths that are asked about at once. */
const questions = 4096;

/** Opens the store; asks nothing yet. */
export function sshStore(place: SshPlace): WritableStore {
  const { url, storeDir } = place;
  const remote = new Remote(place);
  const validOf = async (
    paths: readonly StorePath[],
    connection: SshConnection,
  ): Promise<ReadonlySet<StorePath>> => {
    await connection.send(askValidPaths(paths));
    return connection.read(readPaths(storeDir));
  };
  const infosOf = async (
    paths: readonly StorePath[],
    connection: SshConnection,
  ): Promise<readonly PathInfo[]> => {
    const infos: PathInfo[] = [];
    for (let at = 0; at < paths.length; at += questions) {
      const some = paths.slice(at, at + questions);
      await connection.send(askPathInfos(some));
      infos.push(...(await connection.read(readInfos(some, storeDir))));
    }
    return infos;
  };
  return {
    url,
    storeDir,
    info: path => remote.use(async connection => (await infosOf([path], connection))[0]),
    byHashPart: async hash => {
      throw new GranaryError(
        'usage',
        `Cannot look for the hash part ${hash} in ${url}: over ssh, name the whole store path or its base name`,
      );
    },
    closure: roots =>
      remote.use(async connection => {
        const valid = await validOf(roots, connection); // or it ends with the first that is not
        await connection.send(askClosure([...valid]));
        const paths = await connection.read(readPaths(storeDir));
        return new Map((await infosOf([...paths], connection)).map(info => [info.path, info]));
      }),
    content: path => ({ ssh: place, path }),
    advice: path => `repair it there with "nix-store --repair-path ${path}"`,
    pathOf: name => pathWithin(name, storeDir, storeDir),
    about: () => remote.use(async () => ({})), // it answers, and says no more
    valid: paths => remote.use(connection => validOf(paths, connection)),
    infos: paths => remote.use(connection => infosOf(paths, connection)),
    add: paths =>
      remote.use(async connection => {
        const valid = await validOf(
          paths.map(({ info }) => info.path),
          connection,
        );
        for (const path of paths) if (!valid.has(path.info.path)) await add(path, connection);
      }),
  };
}

async function add({ info, nar }: PathToAdd, connection: SshConnection): Promise<void> {
  await connection.send(announceNar(info));
  let size = 0;
  for await (const bytes of nar()) {
    size += bytes.length;
    if (size > info.narSize) break;
    await connection.send(bytes);
  }
  if (size !== info.narSize)
    throw new GranaryError(
      'corrupt',
      `Cannot add ${info.path} to the store: its NAR does not have the ${info.narSize} bytes that its info says`,
      { path: info.path, expected: info.narSize },
    );
  const answer = await connection.read(readNumber());
  if (answer === 1) return;
  throw new GranaryError(
    'malformed',
    `Cannot add ${info.path} to the store: the other side answers ${answer}, which means nothing`,
    { path: info.path },
  );
}

/** The NAR of a path in blocks, as `dumpTree`. */
export async function* dumpRemote(
  path: StorePath,
  remote: Remote,
  options: DumpOptions,
): AsyncGenerator<Buffer, ListingNode | undefined> {
  const connection = await remote.take();
  let whole = false;
  try {
    await connection.send(askNar(path));
    const listing = yield* narBlocks(connection, new NarReader(), options);
    whole = true;
    return listing;
  } finally {
    if (whole) remote.giveBack(connection);
    else connection.destroy();
  }
}
