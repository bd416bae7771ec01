/**
 * Connections to a Nix daemon by its socket. A connection is lost with the first error on it: what
 * follows in its stream would mean nothing. What the daemon refuses is told in its own words.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { readable } from '../bytes.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import {
  type DaemonWelcome,
  hello,
  introduction,
  printVersion,
  quietly,
  type Reading,
  readHello,
  readMessage,
  readWelcome,
  versions,
} from '../format/daemon-wire.ts';
import { Incoming } from './incoming.ts';
import { type Connection, Keeper } from './keeper.ts';

/** The daemon at a socket. Its connections throw `unavailable` when there is none, `usage` when it is too old. */
export class Daemon extends Keeper<DaemonConnection> {
  /** The socket's file name. */
  readonly socket: string;

  constructor(socket: string) {
    super(() => connect(socket));
    this.socket = socket;
  }

  /** Whether somebody still answers at the socket. */
  async isAlive(): Promise<boolean> {
    try {
      (await connect(this.socket)).destroy();
      return true;
    } catch {
      return false;
    }
  }
}

async function connect(file: string): Promise<DaemonConnection> {
  const socket = process.getBuiltinModule('node:net').createConnection({ path: file });
  const connection = new DaemonConnection(socket, file);
  try {
    await once(socket, 'connect').catch(error => {
      throw unreachable(file, error);
    });
    await connection.greet();
    return connection;
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

export class DaemonConnection implements Connection {
  readonly #socket: Socket;
  readonly #file: string;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #incoming = new Incoming(() => this.#next());
  /** The next chunk, asked for while the connection rests. */
  #ahead: Promise<IteratorResult<Buffer>> | undefined;
  #lost = false;
  #welcome: DaemonWelcome | undefined;

  constructor(socket: Socket, file: string) {
    this.#socket = socket;
    this.#file = file;
    this.#chunks = socket[Symbol.asyncIterator]();
    socket.on('error', () => {}); // whoever reads or writes is told
  }

  /** Whether it may be used again. */
  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** Whether the daemon went away while it was used. */
  get isLost(): boolean {
    return this.#lost;
  }

  /** What the daemon said of itself. */
  get welcome(): DaemonWelcome {
    return this.#welcome!;
  }

  async greet(): Promise<void> {
    await this.send(hello());
    const newest = await this.read(readHello());
    const version = Math.min(newest, versions.newest);
    if (version < versions.oldest || newest >> 8 !== versions.newest >> 8)
      throw this.#tooOld(newest);
    await this.send(introduction(version));
    this.#welcome = await this.read(readWelcome(version));
    await this.reply('greet');
    await this.send(quietly());
    await this.reply('set options');
  }

  /** Sends bytes, when those before them have gone. */
  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#socket.write(bytes, error => (error ? reject(this.#gone(error)) : resolve())),
    );
  }

  /** Reads what a Reading wants, from what comes. */
  read<T>(reading: Reading<T>): Promise<T> {
    return this.#incoming.read(reading);
  }

  /** What comes next, however much that is. */
  chunk(): Promise<Buffer> {
    return this.#incoming.chunk();
  }

  /** Puts back the end of a chunk. */
  unread(bytes: Buffer): void {
    this.#incoming.unread(bytes);
  }

  /**
   * Reads messages up to the last. `doing` follows "Cannot".
   *
   * @throws GranaryError with the daemon's own words when it refuses
   */
  async reply(doing: string): Promise<void> {
    for (;;) {
      const message = await this.read(readMessage());
      if (message.type === 'last') return;
      if (message.type === 'error') throw refusal(doing, message.message);
    }
  }

  /** Lets the program end while nothing is asked, and hears when the daemon ends the connection. */
  rest(): void {
    this.#socket.unref();
    this.#ahead ??= this.#chunks.next();
    this.#ahead.then(
      ({ done }) => done && this.destroy(),
      () => this.destroy(),
    );
  }

  hold(): void {
    this.#socket.ref();
  }

  /** Says that no more comes; what the daemon still says can be read. */
  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #next(): Promise<Buffer> {
    const ahead = this.#ahead ?? this.#chunks.next();
    this.#ahead = undefined;
    const next = await ahead.catch((error: Error) => {
      throw this.#gone(error);
    });
    if (next.done) throw this.#gone();
    return next.value;
  }

  #gone(cause?: Error): GranaryError {
    this.#lost = true;
    const what = `Cannot go on with the Nix daemon at ${this.#file}: it closed the connection; its log may say why`;
    return new GranaryError('unavailable', what, { stops: 'all' }, cause);
  }

  #tooOld(version: number): GranaryError {
    return new GranaryError(
      'usage',
      `Cannot use the Nix daemon at ${this.#file}: it speaks version ${printVersion(version)} of its protocol, and ${printVersion(versions.oldest)} to ${printVersion(versions.newest)} are known here; it has to be of Nix 2.8 or later`,
      { stops: 'all' },
    );
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no such socket; start nix-daemon, or name its socket with unix:///path/to/socket',
  ENOTDIR: 'part of this path is a file, not a directory',
  ECONNREFUSED: 'nobody listens there; start nix-daemon',
  EACCES: 'you may not use it',
  EINVAL: 'the name is too long for a socket; give a shorter one that links to it',
};

function unreachable(file: string, error: NodeJS.ErrnoException): GranaryError {
  const why = reasons[error.code ?? ''] ?? error.message;
  const what = `Cannot reach the Nix daemon at ${file}: ${why}`;
  return new GranaryError('unavailable', what, { stops: 'all' }, error);
}

/** What its words mean, in every version since 2.8; the protocol itself has no codes. */
const refusals: readonly (readonly [RegExp, ErrorCode, advice?: string])[] = [
  [
    /lacks a (valid )?signature/,
    'untrusted',
    '; sign it with a key that the daemon trusts, or put its key into trusted-public-keys there',
  ],
  [/not (allowed|privileged)|permission/i, 'untrusted'],
  [/mismatch/, 'corrupt'],
  [
    /No space left on device|database or disk is full|Disk quota exceeded/i,
    'unavailable',
    '; free some space there and run the same command again',
  ],
  [/is not valid|not in the Nix store|No such file or directory/, 'absent'],
];

function refusal(doing: string, words: string): GranaryError {
  const known = refusals.find(([said]) => said.test(words));
  const [, code = 'unavailable', advice = ''] = known ?? [];
  const said = readable(words.replace(/\s*\n\s*/g, ' ').trim());
  const facts = known && code === 'unavailable' ? { stops: 'all' } : {};
  return new GranaryError(code, `Cannot ${doing}: the Nix daemon says: ${said}${advice}`, facts);
}
