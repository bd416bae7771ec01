/**
 * A store behind a Nix daemon: what an ordinary user has when he may not read the database, and the
 * one way into a store that is not his. The daemon is asked over its socket (`daemon-connection.ts`),
 * in the words of `format/daemon-wire.ts`.
 *
 * Closures are asked for level by level, all paths of a level at once. A NAR comes as it is, without
 * its length, and is parsed to find its end. What is added has to bear a signature that the daemon
 * trusts, or a content address, whoever we are.
 */
import { GranaryError } from '../errors.ts';
import {
  type DaemonWelcome,
  encode,
  infoParts,
  operations,
  readNumber,
  readOptionalPath,
  readPathInfo,
  readPaths,
} from '../format/daemon-wire.ts';
import type { ListingNode } from '../format/nar-listing.ts';
import { NarReader } from '../format/nar-read.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { Signature } from '../format/signature.ts';
import type { StoreDir, StorePath } from '../format/store-path.ts';
import { Daemon, type DaemonConnection } from './daemon-connection.ts';
import type { DumpOptions } from './filesystem.ts';
import { narBlocks } from './incoming.ts';
import type { LocalPlaces } from './local.ts';
import { pathWithin } from './roots.ts';
import type { PathToAdd, WritableStore } from './store.ts';

export interface DaemonStore extends WritableStore {
  /** What the daemon says of itself. */
  about(): Promise<DaemonWelcome>;
  /** Adds signatures to a path that the store has. */
  sign(path: StorePath, signatures: readonly Signature[]): Promise<void>;
}

/** Paths that are asked about before the first answer is waited for. */
const questions = 1024;

/** The store of the daemon at `socket`; `places` are for names of files on this machine. */
export function daemonStore({ storeDir, real }: LocalPlaces, socket: string): DaemonStore {
  const daemon = new Daemon(socket);
  return {
    url: `unix://${socket}`,
    storeDir,
    info: path => daemon.use(async connection => (await infosOf([path], connection))[0]),
    byHashPart: hash =>
      daemon.use(async connection => {
        await connection.send(encode(operations.queryPathFromHashPart, hash));
        await connection.reply(`look for the hash part ${hash}`);
        const path = await connection.read(readOptionalPath(storeDir));
        return path && (await infosOf([path], connection))[0];
      }),
    closure: roots => daemon.use(connection => closureFrom(roots, connection)),
    content: path => ({ daemon: socket, path }),
    advice: path => `repair it with "nix-store --repair-path ${path}"`,
    pathOf: name => pathWithin(name, storeDir, storeDir) ?? pathWithin(name, real, storeDir),
    about: () => daemon.use(async ({ welcome }) => welcome),
    valid: paths => daemon.use(connection => validOf(paths, storeDir, connection)),
    infos: async paths => {
      const infos = await daemon.use(connection => infosOf(paths, connection));
      return infos.filter(info => info !== undefined);
    },
    add: async paths => {
      if (paths.length === 0) return;
      await daemon.use(async connection => {
        const named = paths.map(({ info }) => info.path);
        const valid = await validOf(named, storeDir, connection);
        const missing = paths.filter(({ info }) => !valid.has(info.path));
        if (missing.length > 0) await add(missing, connection);
      });
    },
    sign: (path, signatures) =>
      daemon.use(async connection => {
        await connection.send(encode(operations.addSignatures, path, signatures));
        await connection.reply(`add signatures to ${path}`);
        await connection.read(readNumber());
      }),
  };
}

async function validOf(
  paths: readonly StorePath[],
  storeDir: StoreDir,
  connection: DaemonConnection,
): Promise<ReadonlySet<StorePath>> {
  await connection.send(encode(operations.queryValidPaths, paths, 0));
  await connection.reply('look for paths');
  return await connection.read(readPaths(storeDir));
}

async function closureFrom(
  roots: readonly StorePath[],
  connection: DaemonConnection,
): Promise<ReadonlyMap<StorePath, PathInfo>> {
  const infos = new Map<StorePath, PathInfo>();
  const asked = new Set<StorePath>();
  for (let level = new Set(roots); level.size > 0; ) {
    const next = new Set<StorePath>();
    for (const path of level) asked.add(path);
    for (const info of await infosOf([...level], connection)) {
      if (!info) continue;
      infos.set(info.path, info);
      for (const reference of info.references) if (!asked.has(reference)) next.add(reference);
    }
    level = next;
  }
  return infos;
}

/** The infos of these, in their order: many questions are on their way at once. */
async function infosOf(
  paths: readonly StorePath[],
  connection: DaemonConnection,
): Promise<readonly (PathInfo | undefined)[]> {
  const infos: (PathInfo | undefined)[] = [];
  for (let at = 0; at < paths.length; at += questions) {
    const some = paths.slice(at, at + questions);
    const asking = some.map(path => encode(operations.queryPathInfo, path));
    const hear = async (): Promise<void> => {
      for (const path of some) {
        await connection.reply(`ask for ${path}`);
        infos.push(await connection.read(readPathInfo(path)));
      }
    };
    await Promise.all([connection.send(Buffer.concat(asking)), hear()]);
  }
  return infos;
}

/**
 * The NAR of a path, as the daemon gives it, in blocks, and at the end its listing. As `dumpTree`: a
 * block that was yielded belongs to the caller, and all but the last are full.
 *
 * @throws GranaryError `corrupt` when it breaks off though the daemon is there, `unavailable` when
 * the daemon is not
 */
export async function* dumpNar(
  path: StorePath,
  daemon: Daemon,
  options: DumpOptions,
): AsyncGenerator<Buffer, ListingNode | undefined> {
  const connection = await daemon.take();
  const reader = new NarReader();
  let whole = false;
  try {
    await connection.send(encode(operations.narFromPath, path));
    await connection.reply(`read ${path}`);
    const explain = async (error: unknown) => (await wordsWithin(path, connection)) ?? error;
    const listing = yield* narBlocks(connection, reader, options, explain);
    whole = true;
    return listing;
  } catch (error) {
    if (!connection.isLost || !(await daemon.isAlive())) throw error;
    const { offset } = reader;
    const what = `Cannot read ${path} from the Nix daemon: its NAR breaks off after ${offset} bytes; run the same command again, and if it stays so, see the daemon's log and try "nix-store --repair-path ${path}"`;
    throw new GranaryError('corrupt', what, { path, actual: offset }, error);
  } finally {
    if (whole) daemon.giveBack(connection);
    else connection.destroy();
  }
}

/** A daemon that fails in the middle of a NAR says so in its place, where that is no file's content. */
async function wordsWithin(
  path: StorePath,
  connection: DaemonConnection,
): Promise<GranaryError | undefined> {
  try {
    await connection.reply(`read ${path}`);
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    if (error.code !== 'malformed' && !connection.isLost) return error;
  }
  return undefined;
}

/**
 * The daemon talks while we send, and may refuse long before we are done. It must lack all of these:
 * Nix 2.8 does not read the NAR of a path that it has, and takes it for the next path.
 */
async function add(paths: readonly PathToAdd[], connection: DaemonConnection): Promise<void> {
  let refused = false;
  const reply = connection.reply(`add ${paths.length} paths to the store`);
  reply.catch(() => {
    refused = true;
  });
  try {
    const [repair, dontCheckSignatures] = [0, 0];
    await connection.send(encode(operations.addMultipleToStore, repair, dontCheckSignatures));
    for await (const bytes of pathsOnTheWire(paths)) {
      if (refused) break;
      await connection.send(encode(bytes.length));
      await connection.send(bytes);
    }
    if (!refused) await connection.send(encode(0));
  } catch (error) {
    if (connection.isLost) await reply; // it may have said why
    connection.end();
    await reply.catch(() => {}); // it still adds what came before: who asks now would be told too little
    throw error;
  }
  await reply;
}

async function* pathsOnTheWire(paths: readonly PathToAdd[]): AsyncGenerator<Uint8Array> {
  yield encode(paths.length);
  for (const { info, nar } of paths) {
    yield encode(info.path, ...infoParts(info));
    let size = 0;
    for await (const bytes of nar()) {
      if (bytes.length === 0) continue; // in a frame, it would be the end of all
      size += bytes.length;
      if (size > info.narSize) break;
      yield bytes;
    }
    if (size === info.narSize) continue;
    throw new GranaryError(
      'corrupt',
      `Cannot add ${info.path} to the store: its NAR does not have the ${info.narSize} bytes that its info says`,
      { path: info.path, expected: info.narSize },
    );
  }
}
