/**
 * A connection to `nix-store --serve` on another machine: the system's ssh as a process of ours, its pipes, and what it
 * says when it goes. The protocol has no words for errors, so those are on stderr.
 */
import type { ChildProcessByStdio } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { readable } from '../bytes.ts';
import { type ErrorCode, GranaryError } from '../errors.ts';
import type { Reading } from '../format/daemon-wire.ts';
import { hello, readHello } from '../format/serve-wire.ts';
import { Incoming } from './incoming.ts';
import { type Connection, Keeper } from './keeper.ts';
import { type SshPlace, sshWords } from './ssh-place.ts';

/** Another machine. */
export class Remote extends Keeper<SshConnection> {
  constructor(place: SshPlace) {
    super(() => connect(place));
  }
}

/** A host turns away who comes with too many others at once, as our threads do. */
async function connect(place: SshPlace): Promise<SshConnection> {
  for (let attempt = 1; ; attempt++) {
    const connection = new SshConnection(place);
    try {
      await connection.send(hello());
      await connection.read(readHello());
      connection.isGreeted = true;
      return connection;
    } catch (error) {
      connection.destroy();
      if (attempt === attempts || !connection.wasTurnedAway) throw error;
      await setTimeout(200 + Math.random() * 1800);
    }
  }
}

const attempts = 5;
const turnedAway =
  /kex_exchange_identification|Connection reset by|Exceeded MaxStartups|Not allowed at this time/;

/** How much of what it said last is told. */
const toldBytes = 2000;
/** How long a connection that broke may take to say why. */
const lastWordsMs = 3000;

export class SshConnection implements Connection {
  readonly #place: SshPlace;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<Ending>;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #incoming = new Incoming(() => this.#next());
  /** Whether it is Nix that speaks from now on. */
  isGreeted = false;
  #said = '';
  #ahead: Promise<IteratorResult<Buffer>> | undefined;

  constructor(place: SshPlace) {
    this.#place = place;
    const [program, ...args] = sshWords(place, process.env.NIX_SSHOPTS);
    const { spawn } = process.getBuiltinModule('node:child_process');
    const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#ended = new Promise(resolve => {
      child.once('error', (error: NodeJS.ErrnoException) => resolve({ error }));
      child.once('close', code => resolve({ code: code ?? undefined }));
    });
    child.stdin.on('error', () => {}); // whoever reads or writes is told
    child.stderr.on('data', bytes => {
      this.#said = (this.#said + bytes.toString('latin1')).slice(-toldBytes);
    });
    child.stderr.on('error', () => {});
    this.#chunks = child.stdout[Symbol.asyncIterator]();
  }

  get isOpen(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && !this.#child.killed;
  }

  /** Whether the host had too many connections for one more. */
  get wasTurnedAway(): boolean {
    return turnedAway.test(this.#said);
  }

  /** Sends bytes, when those before them have gone. */
  async send(bytes: Uint8Array): Promise<void> {
    const failed = await new Promise<unknown>(resolve => this.#child.stdin.write(bytes, resolve));
    if (failed) throw await this.#gone();
  }

  /** Reads what a Reading wants, from what comes. */
  read<T>(reading: Reading<T>): Promise<T> {
    return this.#incoming.read(reading);
  }

  chunk(): Promise<Buffer> {
    return this.#incoming.chunk();
  }

  unread(bytes: Buffer): void {
    this.#incoming.unread(bytes);
  }

  rest(): void {
    this.#child.unref();
    for (const pipe of this.#pipes()) pipe.unref();
    this.#ahead ??= this.#chunks.next();
    this.#ahead.then(
      ({ done }) => done && this.destroy(),
      () => this.destroy(),
    );
  }

  hold(): void {
    this.#child.ref();
    for (const pipe of this.#pipes()) pipe.ref();
  }

  destroy(): void {
    this.#child.kill();
    for (const pipe of this.#pipes()) pipe.destroy();
  }

  #pipes(): readonly Socket[] {
    const { stdin, stdout, stderr } = this.#child;
    return [stdin, stdout, stderr] as unknown as readonly Socket[]; // which pipes of a child process are
  }

  async #next(): Promise<Buffer> {
    const ahead = this.#ahead ?? this.#chunks.next();
    this.#ahead = undefined;
    const next = await ahead.catch(() => undefined);
    if (!next || next.done) throw await this.#gone();
    return next.value;
  }

  /** Why it ended, in the words of who did. */
  async #gone(): Promise<GranaryError> {
    const patience = setTimeout<Ending>(lastWordsMs, {}, { ref: false });
    const ending = await Promise.race([this.#ended, patience]);
    return explained(this.#place, this.#said, { ...ending, isGreeted: this.isGreeted });
  }
}

interface Ending {
  readonly code?: number | undefined;
  readonly error?: NodeJS.ErrnoException;
}

/** What its last words mean. Where there is nothing to be mended on our side, it may pass. */
const reasons: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [
    /Permission denied \(/,
    'usage',
    'let ssh in, by a key that the other side knows (?ssh-key=FILE)',
  ],
  [
    /Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED/,
    'usage',
    'connect once by hand, and see that it is the right machine',
  ],
  [
    /Bad configuration option|unknown option|usage: ssh/,
    'usage',
    'see to NIX_SSHOPTS and ssh_config',
  ],
  [/Could not resolve hostname/, 'unavailable', 'see to the name'],
  [
    /command not found|: not found|No such file or directory/,
    'absent',
    'install Nix there, or name its nix-store by ?remote-program=',
  ],
];

/** The same of what Nix there says of one path, once it has greeted. */
const answers: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [/lacks a (valid )?signature/, 'untrusted', 'let who logs in be trusted there, or sign it'],
  [/is not valid/, 'absent', 'it went away meanwhile'],
  [
    /hash mismatch|bad archive|unexpected end-of-file|getting status of|opening file|reading from file|reading directory|path '.*' does not exist|Input\/output error/i,
    'corrupt',
    'see what it says, and repair it there',
  ],
];

function explained(
  { url }: SshPlace,
  said: string,
  { code, error, isGreeted }: Ending & { readonly isGreeted: boolean },
): GranaryError {
  if (error?.code === 'ENOENT')
    return new GranaryError(
      'absent',
      `Cannot reach ${url}: there is no ssh on this machine; install an OpenSSH client`,
      { stops: 'all' },
      error,
    );
  const plain = said.replace(/\x1b\[[0-9;]*m/g, '').trim();
  const words = readable(plain.split(/\r?\n/).slice(-3).join(' '));
  const found = (isGreeted ? [...answers, ...reasons.slice(0, -1)] : reasons).find(([pattern]) =>
    pattern.test(plain),
  );
  const told = words === '' ? `it ended${code === undefined ? '' : ` with ${code}`}` : words;
  const [, kind, advice] = found ?? [/$/, 'unavailable' as const, 'run the same command again'];
  return new GranaryError(
    kind,
    `Cannot go on with ${url}: ${told.replace(/[.;]$/, '')}; ${advice}`,
    answers.some(answer => answer === found) ? {} : { stops: 'all' },
  );
}
