/**
 * The words of the Nix daemon: its worker protocol, from version 1.34 (Nix 2.8) to 1.38 (2.24 and later).
 *
 *     number = eight bytes, little end first
 *     text   = number(length) bytes, and zeros up to a multiple of eight
 *     texts  = number(count) text*
 *     hello  = number(magic) number(version)                               each side, the client first
 *     then     client: [1.38: texts(features)] number(0) number(0)
 *              daemon: [1.38: texts(features)] text(Nix's version) [1.35: number(trust)] reply
 *     info   = text(deriver or "") text(hex of NarHash) texts(references) number(registration time)
 *              number(NarSize) number(ultimate) texts(signatures) text(content address or "")
 *     ask    = number(operation) arguments; the answer is reply, and then what was asked for
 *     reply  = message* (last | error)
 *     framed = (number(size > 0) bytes)* number(0)
 *
 * To write is to make bytes. To read is a generator that yields how many bytes it wants next and is
 * given just these: it does not know where they come from. It never wants more than a text's limit,
 * so nothing is allocated by a stated size. What is outside of the grammar is `malformed`.
 */
import { latin1, readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { hexOf, parseHash } from './hash.ts';
import { padding, stringSize, writeNumber, writeString } from './nar-wire.ts';
import type { PathInfo } from './path-info.ts';
import { parseSignature } from './signature.ts';
import { parseStorePath, type StoreDir, type StorePath, storeDirOf } from './store-path.ts';

/** Reads a T: yields how many bytes it wants, and is given just these. */
export type Reading<T> = Generator<number, T, Buffer>;

/** What can be asked of the daemon. */
export const operations = {
  setOptions: 19,
  queryPathInfo: 26,
  queryPathFromHashPart: 29,
  queryValidPaths: 31,
  addSignatures: 37,
  narFromPath: 38,
  addMultipleToStore: 44,
} as const;

/** `major << 8 | minor` of the protocol. */
export const versions = { oldest: 0x122, newest: 0x126 } as const;
const withTrust = 0x123;
const withFeatures = 0x126;

/** As `1.38`. */
export const printVersion = (version: number): string => `${version >> 8}.${version & 0xff}`;

/** Bytes of a text, and things in a list, beyond which no daemon can mean it. */
export const wireLimits = { text: 1 << 20, count: 1 << 20 } as const;

const magic = { client: 0x6e697863, daemon: 0x6478696f } as const;

const tags = {
  next: 0x6f6c6d67,
  startActivity: 0x53545254,
  stopActivity: 0x53544f50,
  result: 0x52534c54,
  last: 0x616c7473,
  error: 0x63787470,
} as const;

/** What the daemon says before it answers. Activities and their results are read and not kept. */
export type DaemonMessage =
  | { readonly type: 'last' }
  | { readonly type: 'error'; readonly message: string }
  | { readonly type: 'note'; readonly text: string }
  | { readonly type: 'activity' };

/** What the daemon says of itself and of us. */
export interface DaemonWelcome {
  readonly nixVersion: string;
  /** Whether it does what only trusted users may ask for; undefined when it does not say. */
  readonly trusted?: boolean;
}

type Part = number | string | readonly string[];

/** The bytes of numbers, texts (latin-1) and lists of texts. */
export function encode(...parts: readonly Part[]): Buffer {
  const buffer = Buffer.allocUnsafe(parts.reduce((size: number, part) => size + sizeOf(part), 0));
  let at = 0;
  for (const part of parts) {
    if (typeof part === 'number') at = writeNumber(buffer, at, part);
    else if (typeof part === 'string') at = writeString(buffer, at, part);
    else {
      at = writeNumber(buffer, at, part.length);
      for (const text of part) at = writeString(buffer, at, text);
    }
  }
  return buffer;
}

function sizeOf(part: Part): number {
  if (typeof part === 'number') return 8;
  if (typeof part === 'string') return stringSize(part.length);
  return part.reduce((size, text) => size + stringSize(text.length), 8);
}

/** What the client says first. */
export const hello = (): Buffer => encode(magic.client, versions.newest);

/** Reads what the daemon answers to `hello`: the newest version that it speaks. */
export function* readHello(): Reading<number> {
  const found = yield 8;
  if (!found.equals(encode(magic.daemon))) throw malformed('it does not greet as a daemon does');
  return yield* readNumber();
}

/** What the client says once it knows the version: it has no features, no favourite CPU, no reserve. */
export const introduction = (version: number): Buffer =>
  version >= withFeatures ? encode([], 0, 0) : encode(0, 0);

/** Reads what the daemon answers to the introduction, up to the reply. */
export function* readWelcome(version: number): Reading<DaemonWelcome> {
  if (version >= withFeatures) yield* readTexts();
  const nixVersion = yield* readText();
  const trust = version >= withTrust ? yield* readNumber() : 0;
  if (trust > 2) throw malformed(`it knows three kinds of trust, and ${trust} is none`);
  return { nixVersion, ...(trust === 0 ? {} : { trusted: trust === 1 }) };
}

/** Asks the daemon to be quiet, and to build and substitute nothing for us. */
export const quietly = (): Buffer => {
  const [no, quiet, jobs, anyTime, hook, noBuildLog, cores] = [0, 0, 0, 0, 1, 7, 1];
  const keepOn = [no, no, no]; // keep failed builds, go on after one, fall back to building
  const building = [jobs, anyTime, hook, noBuildLog, no, no, cores];
  const substitutes = no;
  return encode(operations.setOptions, ...keepOn, quiet, ...building, substitutes, []);
};

/** Reads one message. */
export function* readMessage(): Reading<DaemonMessage> {
  const tag = yield* readNumber();
  switch (tag) {
    case tags.last:
      return { type: 'last' };
    case tags.error:
      return { type: 'error', message: yield* readError() };
    case tags.next:
      return { type: 'note', text: yield* readText() };
    case tags.startActivity:
      yield* skipNumbers(3); // id, level, type
      yield* readText();
      yield* skipFields();
      yield* skipNumbers(1); // parent
      return { type: 'activity' };
    case tags.stopActivity:
      yield* skipNumbers(1);
      return { type: 'activity' };
    case tags.result:
      yield* skipNumbers(2); // id, type
      yield* skipFields();
      return { type: 'activity' };
    default:
      throw malformed(`0x${tag.toString(16)} begins none of its messages`);
  }
}

/** The message and where it came from, outermost last, without colours. */
function* readError(): Reading<string> {
  yield* readText(); // "Error"
  yield* skipNumbers(1); // level
  yield* readText(); // name
  const message = yield* readText();
  yield* skipNumbers(1); // position: never there
  const traces = yield* readCount();
  for (let at = 0; at < traces; at++) {
    yield* skipNumbers(1);
    yield* readText(); // what it was doing: our own sentence says that
  }
  return message.replace(/\x1b\[[0-9;]*m/g, '').replace(/^error: */, '');
}

function* skipFields(): Reading<void> {
  const count = yield* readCount();
  for (let at = 0; at < count; at++) {
    const type = yield* readNumber();
    if (type === 0) yield* skipNumbers(1);
    else if (type === 1) yield* readText();
    else throw malformed(`a field is a number or a text, and ${type} is neither`);
  }
}

/** An info's parts, without its path, for `encode`. Who sends it vouches for nothing: not ultimate. */
export const infoParts = (info: PathInfo): readonly Part[] => [
  info.deriver ?? '',
  hexOf(info.narHash),
  info.references,
  0,
  info.narSize,
  0,
  info.signatures,
  info.ca ?? '',
];

/** Reads whether a path is valid, and its info if it is. */
export function* readPathInfo(path: StorePath): Reading<PathInfo | undefined> {
  if (!(yield* readFlag())) return undefined;
  return yield* readInfo(path);
}

/** Reads an info of `path`. */
export function* readInfo(path: StorePath): Reading<PathInfo> {
  const deriver = yield* readText();
  const narHash = yield* readText();
  const references = yield* readTexts();
  yield* skipNumbers(1); // registration time
  const narSize = yield* readNumber();
  yield* skipNumbers(1); // ultimate
  const signatures = yield* readTexts();
  const ca = yield* readText();
  const storeDir = storeDirOf(path);
  try {
    return {
      path,
      narHash: parseHash(`sha256:${narHash}`, 'hash'),
      narSize,
      references: references.map(text => parseStorePath(text, storeDir)).sort(),
      ...(deriver === '' ? {} : { deriver: parseStorePath(deriver, storeDir) }),
      ...(ca === '' ? {} : { ca: parseContentAddress(ca) }),
      signatures: signatures.map(parseSignature),
    };
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    const what = `Cannot read what the Nix daemon says of ${path}: ${error.message}`;
    throw new GranaryError('malformed', what, { ...error.facts, path }, error);
  }
}

/** Reads a path, or that there is none. */
export function* readOptionalPath(storeDir: StoreDir): Reading<StorePath | undefined> {
  const text = yield* readText();
  return text === '' ? undefined : parseStorePath(text, storeDir);
}

/** Reads a set of paths. */
export function* readPaths(storeDir: StoreDir): Reading<ReadonlySet<StorePath>> {
  const texts = yield* readTexts();
  return new Set(texts.map(text => parseStorePath(text, storeDir)));
}

/** Reads a number up to 2^53 − 1. */
export function* readNumber(): Reading<number> {
  const bytes = yield 8;
  const value = bytes.readUInt32LE(0) + bytes.readUInt32LE(4) * 2 ** 32;
  if (!Number.isSafeInteger(value)) throw malformed('a number is absurdly big');
  return value;
}

/** Reads a text (latin-1). */
export function* readText(): Reading<string> {
  const size = yield* readNumber();
  if (size > wireLimits.text)
    throw malformed(`a text has ${size} bytes, more than ${wireLimits.text}`);
  const bytes = yield size + padding(size);
  if (bytes.subarray(size).some(byte => byte !== 0))
    throw malformed(`what follows "${readable(latin1(bytes.subarray(0, size)))}" is not zeros`);
  return latin1(bytes.subarray(0, size));
}

/** Reads a list of texts. */
export function* readTexts(): Reading<readonly string[]> {
  const count = yield* readCount();
  const texts: string[] = [];
  while (texts.length < count) texts.push(yield* readText());
  return texts;
}

function* readCount(): Reading<number> {
  const count = yield* readNumber();
  if (count > wireLimits.count)
    throw malformed(`a list has ${count} parts, more than ${wireLimits.count}`);
  return count;
}

function* readFlag(): Reading<boolean> {
  const value = yield* readNumber();
  if (value > 1) throw malformed(`${value} is neither yes nor no`);
  return value === 1;
}

/** Passes over numbers that may be of any size: ids have a process's number in their upper half. */
function* skipNumbers(count: number): Reading<void> {
  yield 8 * count;
}

const malformed = (why: string): GranaryError =>
  new GranaryError('malformed', `Cannot understand the Nix daemon: ${why}`);
