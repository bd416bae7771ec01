/**
 * A tree on disk, as a NAR: the one hot path of making a cache, written against big blocks.
 *
 * Names are latin-1 (one byte, one char), so `<` is Nix's order and no name is lost. Everything is
 * synchronous and is read straight into the block that goes on to the compressor: reading 8,000
 * small files so takes 50 ms, through promises 340. A file that changes its size while it is read
 * is noticed here; that the content is what it should be is for the NAR hash to say.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { readable } from '../bytes.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import type { ListingNode } from '../format/nar-listing.ts';
import {
  limits,
  padding,
  stringSize,
  tokens,
  writeNumber,
  writeString,
} from '../format/nar-wire.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;

export interface DumpOptions {
  /** Gives the next block to fill. All but the last are yielded full. */
  readonly block: () => Buffer;
  /** Whether to build the listing of a tree that is a folder: it takes memory for each file. */
  readonly listing: boolean;
}

/**
 * The NAR of the file, folder or link at `root` (latin-1), in blocks, and at the end its listing.
 * A block that was yielded belongs to the caller.
 *
 * @throws GranaryError `absent` if it vanishes, `corrupt` if it changes size, `malformed` if a NAR
 * cannot hold it, `unavailable` if it cannot be read
 */
export function* dumpTree(root: string, options: DumpOptions): Generator<Buffer, ListingNode> {
  const dump = { root, out: new BlockWriter(options.block), listing: options.listing };
  dump.out.token(tokens.magic);
  const listing = yield* dumpNode(dump, root, 0);
  yield* dump.out.rest();
  return listing;
}

interface Dump {
  readonly root: string;
  readonly out: BlockWriter;
  readonly listing: boolean;
}

function* dumpNode(dump: Dump, file: string, depth: number): Generator<Buffer, ListingNode> {
  const { out, root } = dump;
  if (depth >= limits.depth) throw cannotHold(dump, file, 'it is nested too deep');
  yield* out.full();
  const stat = explained(dump, file, () => lstatSync(fsName(file)));
  if (stat.isFile()) return yield* dumpFile(dump, file, stat);
  if (stat.isDirectory()) return yield* dumpDirectory(dump, file, depth);
  if (!stat.isSymbolicLink()) throw cannotHold(dump, file, `it is a ${kindOf(stat)}`);
  const target = explained(dump, file, () => readlinkSync(fsName(file), 'latin1'));
  if (target.length > limits.target) throw cannotHold({ root }, file, 'its target is too long');
  out.token(tokens.symlink);
  out.string(target);
  out.token(tokens.close);
  return { type: 'symlink', target };
}

function* dumpDirectory(dump: Dump, file: string, depth: number): Generator<Buffer, ListingNode> {
  const { out } = dump;
  const names = explained(dump, file, () => readdirSync(fsName(file), 'latin1')).sort();
  const entries = new Map<string, ListingNode>();
  out.token(tokens.directory);
  for (const name of names) {
    if (name.length > limits.name) throw cannotHold(dump, file, 'it holds a name that is too long');
    out.token(tokens.entry);
    out.string(name);
    out.token(tokens.node);
    const node = yield* dumpNode(dump, `${file}/${name}`, depth + 1);
    if (dump.listing) entries.set(name, node);
    out.token(tokens.close);
  }
  out.token(tokens.close);
  return { type: 'directory', entries };
}

function* dumpFile(dump: Dump, file: string, stat: Stats): Generator<Buffer, ListingNode> {
  const { out } = dump;
  const { size } = stat;
  const executable = (stat.mode & 0o100) !== 0;
  out.token(executable ? tokens.executable : tokens.regular);
  out.number(size);
  const narOffset = out.offset;
  const fd = explained(dump, file, () =>
    openSync(fsName(file), O_RDONLY | O_NOFOLLOW | O_NONBLOCK),
  );
  try {
    const opened = fstatSync(fd);
    if (!opened.isFile() || opened.size !== size) throw changed(dump, file);
    for (let left = size; left > 0; ) {
      yield* out.full();
      const count = explained(dump, file, () => out.read(fd, left));
      if (count === 0 || count > left) throw changed(dump, file);
      left -= count;
    }
    if (size === 0 && out.read(fd, 0) > 0) throw changed(dump, file);
  } finally {
    closeSync(fd);
  }
  out.zeros(padding(size));
  out.token(tokens.close);
  return { type: 'regular', size, executable, narOffset };
}

/** Fills block after block; a block that is full waits until the generator hands it on. */
class BlockWriter {
  readonly #next: () => Buffer;
  readonly #full: Buffer[] = [];
  #block: Buffer;
  #at = 0;
  #before = 0;

  constructor(next: () => Buffer) {
    this.#next = next;
    this.#block = next();
  }

  /** Bytes written so far. */
  get offset(): number {
    return this.#before + this.#at;
  }

  token(bytes: Buffer): void {
    for (let from = 0; from < bytes.length; ) {
      const room = this.#room();
      const count = Math.min(room, bytes.length - from);
      this.#block.set(
        count === bytes.length ? bytes : bytes.subarray(from, from + count),
        this.#at,
      );
      this.#at += count;
      from += count;
    }
  }

  number(value: number): void {
    writeNumber(scratch, 0, value);
    this.token(scratch.subarray(0, 8));
  }

  string(text: string): void {
    const size = stringSize(text.length);
    if (this.#block.length - this.#at >= size) this.#at = writeString(this.#block, this.#at, text);
    else this.token(scratch.subarray(0, writeString(scratch, 0, text)));
  }

  zeros(count: number): void {
    if (count > 0) this.token(nothing.subarray(0, count));
  }

  /**
   * Reads at most `left` bytes of a file into the block and gives their number. Where there is
   * room it asks for one byte more, which a file that has not grown does not have.
   */
  read(fd: number, left: number): number {
    const room = this.#room(); // first: it may turn to the next block
    const count = readSync(fd, this.#block, this.#at, Math.min(room, left + 1), null);
    this.#at += Math.min(count, left);
    return count;
  }

  *full(): Generator<Buffer, void> {
    for (let block = this.#full.shift(); block; block = this.#full.shift()) yield block;
    if (this.#at === this.#block.length) {
      const block = this.#block;
      this.#turn();
      yield block;
    }
  }

  *rest(): Generator<Buffer, void> {
    yield* this.full();
    if (this.#at > 0) yield this.#block.subarray(0, this.#at);
  }

  #room(): number {
    if (this.#at === this.#block.length) {
      this.#full.push(this.#block);
      this.#turn();
    }
    return this.#block.length - this.#at;
  }

  #turn(): void {
    this.#before += this.#at;
    this.#at = 0;
    this.#block = this.#next();
  }
}

const scratch = Buffer.alloc(8192);
const nothing = Buffer.alloc(8);

/** What node:fs opens for a latin-1 name: the very bytes. */
export const fsName = (file: string): string | Buffer =>
  /[\x80-\xff]/.test(file) ? Buffer.from(file, 'latin1') : file;

const within = ({ root }: Pick<Dump, 'root'>, file: string): string =>
  readable(file.slice(root.length + 1)) || '.';

const cannotHold = (dump: Pick<Dump, 'root'>, file: string, why: string): GranaryError =>
  new GranaryError(
    'malformed',
    `Cannot put "${within(dump, file)}" of ${readable(dump.root)} into a NAR: ${why}`,
    { path: within(dump, file) },
  );

const changed = (dump: Dump, file: string): GranaryError =>
  new GranaryError(
    'corrupt',
    `Cannot read "${within(dump, file)}" of ${readable(dump.root)}: it changed while it was being read`,
    { path: within(dump, file) },
  );

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'absent',
  ENOTDIR: 'absent',
  ELOOP: 'corrupt',
  ENXIO: 'corrupt',
};

function explained<T>(dump: Dump, file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    throw new GranaryError(
      codes[code] ?? 'unavailable',
      `Cannot read "${within(dump, file)}" of ${readable(dump.root)}: ${reasons[code] ?? message}`,
      { path: within(dump, file), errno: code },
      error,
    );
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'it is not there',
  ENOTDIR: 'it is not there',
  ELOOP: 'it changed while it was being read',
  ENXIO: 'it changed while it was being read',
  EACCES: 'you may not read it',
  EPERM: 'you may not read it',
  ENAMETOOLONG: 'the path to it is longer than this system can open',
};

function kindOf(stat: Stats): string {
  if (stat.isFIFO()) return 'named pipe';
  if (stat.isSocket()) return 'socket';
  return 'device';
}
