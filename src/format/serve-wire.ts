/**
 * The words of `nix-store --serve`, which nix-copy-closure and `ssh://` stores speak: versions 2.5 (Nix 2.3) to 2.7
 * (which a newer one speaks too). Numbers, texts and lists are those of `daemon-wire.ts`.
 *
 *     hello  = number(magic) number(version)                               each side, the client first
 *     info   = text(deriver or "") texts(references) number(download size) number(NarSize)
 *              text("sha256:" base 32) text(content address or "") texts(signatures)
 *     infos  = (text(path) info)* text("")                                 of those that are valid
 *     ask    = number(command) arguments; the answer is what was asked for
 *
 * There are no messages and no errors: what goes wrong is said on stderr, and ends the connection.
 */
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { encode, infoParts, type Reading, readNumber, readText, readTexts } from './daemon-wire.ts';
import { parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { parseSignature } from './signature.ts';
import { parseStorePath, type StoreDir, type StorePath } from './store-path.ts';

const commands = {
  queryValidPaths: 1,
  queryPathInfos: 2,
  dumpStorePath: 3,
  queryClosure: 7,
  addToStoreNar: 9,
} as const;

const magic = { client: 0x390c9deb, server: 0x5452eecb } as const;
const versions = { oldest: 0x205, newest: 0x207 } as const;

/** What the client says first. */
export const hello = (): Buffer => encode(magic.client, versions.newest);

/**
 * Reads what the other side answers.
 *
 * @throws GranaryError `malformed` when it says anything else, `usage` when it is too old
 */
export function* readHello(): Reading<void> {
  const found = yield 8;
  if (!found.equals(encode(magic.server))) {
    const said = readable(found.toString('latin1'));
    const why = `it says "${said}…" where "nix-store --serve" greets; what logs in there must print nothing`;
    throw new GranaryError('malformed', `Cannot understand the other side: ${why}`);
  }
  const version = yield* readNumber();
  if (version >> 8 === 2 && version >= versions.oldest) return;
  const spoken = `${version >> 8}.${version & 0xff}`;
  throw new GranaryError(
    'usage',
    `Cannot use the Nix on the other side: it speaks version ${spoken} of the serve protocol, and it has to be 2.5 to 2.7, of Nix 2.3 or later`,
  );
}

/** Asks which of these paths are there; the answer is a set. They stay while the connection lasts. */
export const askValidPaths = (paths: readonly StorePath[]): Buffer => {
  const [lock, substitute] = [1, 0];
  return encode(commands.queryValidPaths, lock, substitute, paths);
};

/** Asks for infos; the answer is `readInfos`. */
export const askPathInfos = (paths: readonly StorePath[]): Buffer =>
  encode(commands.queryPathInfos, paths);

/** Asks for all that these, which have to be there, refer to; the answer is a set. */
export const askClosure = (paths: readonly StorePath[]): Buffer => {
  const includeOutputs = 0;
  return encode(commands.queryClosure, includeOutputs, paths);
};

/** Asks for a NAR; the answer is that, and nothing says where it ends but itself. */
export const askNar = (path: StorePath): Buffer => encode(commands.dumpStorePath, path);

/** Announces a path whose NAR follows, `narSize` bytes of it; the answer is 1. */
export const announceNar = (info: PathInfo): Buffer =>
  encode(commands.addToStoreNar, info.path, ...infoParts(info));

/**
 * Reads infos of some of these paths, up to their end.
 *
 * @throws GranaryError `malformed` for one of another path, or a second one
 */
export function* readInfos(
  paths: readonly StorePath[],
  storeDir: StoreDir,
): Reading<readonly PathInfo[]> {
  const infos: PathInfo[] = [];
  const asked = new Set(paths);
  for (;;) {
    const text = yield* readText();
    if (text === '') return infos;
    const path = parseStorePath(text, storeDir);
    if (!asked.delete(path)) {
      const why = `it tells of ${path}, for which nobody asked`;
      throw new GranaryError('malformed', `Cannot understand the other side: ${why}`, { path });
    }
    infos.push(yield* readInfo(path, storeDir));
  }
}

function* readInfo(path: StorePath, storeDir: StoreDir): Reading<PathInfo> {
  const deriver = yield* readText();
  const references = yield* readTexts();
  yield* readNumber(); // what it would be to download
  const narSize = yield* readNumber();
  const narHash = yield* readText();
  const ca = yield* readText();
  const signatures = yield* readTexts();
  try {
    return {
      path,
      narHash: parseHash(narHash, 'hash'),
      narSize,
      references: references.map(text => parseStorePath(text, storeDir)).sort(),
      ...(deriver === '' ? {} : { deriver: parseStorePath(deriver, storeDir) }),
      ...(ca === '' ? {} : { ca: parseContentAddress(ca) }),
      signatures: signatures.map(parseSignature),
    };
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const what = `Cannot read what the other side says of ${path}: ${error.message}`;
    throw new GranaryError('malformed', what, { ...error.facts, path }, error);
  }
}
