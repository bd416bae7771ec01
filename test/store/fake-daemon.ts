/** A Nix daemon that says what a test wants it to, over a real socket. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { encode, type Reading, readNumber, readTexts } from '../../src/format/daemon-wire.ts';
import { temporaryFolder } from '../temporary.ts';

/** The end of a reply, and one that refuses. */
export const last = encode(0x616c7473);
export const refusing = (message: string): Buffer =>
  encode(0x63787470, 'Error', 0, 'Error', message, 0, 0);

/** One conversation, from the daemon's side. */
export class Talk {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest = Buffer.alloc(0);
  /** Bytes that go at once; default: all. */
  readonly #step: number;

  constructor(socket: Socket, step: number) {
    this.#socket = socket;
    this.#step = step;
    this.#chunks = socket[Symbol.asyncIterator]();
    socket.on('error', () => {}).setNoDelay(true);
  }

  async read<T>(reading: Reading<T>): Promise<T> {
    let next = reading.next();
    while (!next.done) next = reading.next(await this.take(next.value));
    return next.value;
  }

  async take(size: number): Promise<Buffer> {
    while (this.#rest.length < size) {
      const next = await this.#chunks.next().catch(() => undefined);
      if (!next || next.done) throw new Gone();
      this.#rest = Buffer.concat([this.#rest, next.value]);
    }
    const bytes = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return bytes;
  }

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(parts);
    for (let at = 0; at < bytes.length; at += this.#step) {
      const piece = bytes.subarray(at, at + this.#step);
      await new Promise<void>(resolve => this.#socket.write(piece, () => resolve()));
    }
  }

  end(): void {
    this.#socket.destroy();
  }
}

/** Thrown out of a conversation that the client ended. */
class Gone extends Error {}

export interface FakeDaemon {
  readonly socket: string;
  /** How many connections there were. */
  readonly talks: () => number;
  /** Comes when all conversations are over, and the other side has had time to notice. */
  silence(): Promise<void>;
  /** Nobody listens any more, and who was talking is cut off. */
  stop(): void;
}

/** A daemon that answers every connection so, after the greeting where `greets` is not false. */
export async function fakeDaemon(
  answer: (talk: Talk, daemon: FakeDaemon) => Promise<void>,
  { version = 0x126, step = Number.POSITIVE_INFINITY, greets = true } = {},
): Promise<FakeDaemon> {
  const socket = join(temporaryFolder(), 'socket');
  const open = new Set<Socket>();
  let talks = 0;
  // As a real one, it goes on with what it has when the other side says that no more comes.
  const server = createServer({ allowHalfOpen: true }, connection => {
    talks += 1;
    open.add(connection);
    connection.on('close', () => open.delete(connection));
    const talk = new Talk(connection, step);
    (async () => {
      if (greets) await greet(talk, version);
      await answer(talk, daemon);
    })()
      .catch(error => {
        if (!(error instanceof Gone)) throw error;
      })
      .finally(() => talk.end());
  });
  const daemon: FakeDaemon = {
    socket,
    talks: () => talks,
    silence: async () => {
      while (open.size > 0) await setTimeout(5);
      await setTimeout(5);
    },
    stop: () => {
      server.close();
      for (const connection of open) connection.destroy();
    },
  };
  after(daemon.stop);
  server.listen(socket);
  await once(server, 'listening');
  return daemon;
}

/** What a daemon of this version says until the first question. */
export const greeting = (version: number): readonly Buffer[] => [
  encode(0x6478696f, version),
  ...(version >= 0x126 ? [encode(['a-feature'])] : []),
  encode('2.99'),
  ...(version >= 0x123 ? [encode(2)] : []),
  last,
  last,
];

async function greet(talk: Talk, version: number): Promise<void> {
  const [hello, ...rest] = greeting(version);
  const optionsSet = rest.pop()!;
  await talk.take(16);
  await talk.write(hello!);
  if (version >= 0x126) await talk.read(readTexts());
  await talk.take(16);
  await talk.write(...rest);
  for (let at = 0; at < 14; at++) await talk.read(readNumber());
  await talk.write(optionsSet);
}
