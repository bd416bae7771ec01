/** Daemons of every Nix, over stores that a test may write to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type DaemonStore, daemonStore } from '../../src/store/daemon.ts';
import { placesOf } from '../../src/store/open.ts';
import type { Corpus } from './corpus.ts';
import { scratch } from './kept.ts';
import { type ClientStore, clientStore, type Nix, nix } from './nix.ts';
import { execute } from './process.ts';

/** A copy of a corpus, which a daemon may write to. */
export async function copyOf(corpus: Corpus): Promise<Corpus> {
  const dir = scratch();
  await execute(['cp', '-a', '--reflink=auto', `${corpus.dir}/nix`, dir]);
  return { ...corpus, ...clientStore(dir) };
}

/** A daemon for a store, as whoever runs the tests; it ends with the test. */
interface RunningDaemon {
  readonly socket: string;
  /** Ends it at once, and all that serves connections of it. */
  kill(): void;
}

interface DaemonWish {
  /** Lines for its configuration. */
  readonly config?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** `client` is never root. */
  readonly as?: 'client' | 'self';
}

export async function startDaemon(
  age: Nix['age'],
  store: ClientStore,
  t: TestContext,
  { config = '', env = {}, as = 'self' }: DaemonWish = {},
): Promise<RunningDaemon> {
  const socket = join(scratch(), 'socket');
  const daemon = (await nix(age)).start('nix-daemon', [], {
    store,
    config,
    env: { NIX_DAEMON_SOCKET_PATH: socket, ...env },
    as,
  });
  const said: Buffer[] = [];
  daemon.stderr!.on('data', bytes => said.push(bytes));
  t.after(async () => {
    const ended = once(daemon, 'exit');
    if (daemon.kill()) await ended;
    // Its children serve the connections that we keep, and would hold these open for them.
    for (const pipe of [daemon.stdout!, daemon.stderr!]) pipe.destroy();
  });
  for (let waits = 0; !listens(socket); waits++) {
    assert.ok(waits < 500 && daemon.exitCode === null, Buffer.concat(said).toString());
    await setTimeout(20);
  }
  const kill = (): void => {
    const children = readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, 'latin1');
    daemon.kill('SIGKILL');
    for (const pid of children.split(' ').filter(Boolean)) process.kill(Number(pid), 'SIGKILL');
  };
  return { socket, kill };
}

/**
 * Whether somebody listens: the socket is there a moment before. It is not tried, as a daemon may lose the connection
 * that follows one which ends at once.
 */
const listens = (socket: string): boolean =>
  readFileSync('/proc/net/unix', 'latin1')
    .split('\n')
    .some(line => line.endsWith(` ${socket}`) && line.split(/\s+/)[3] === '00010000');

/** The socket of a daemon with these lines in its configuration. */
export const daemonOf = async (
  age: Nix['age'],
  store: ClientStore,
  t: TestContext,
  config = '',
): Promise<string> => (await startDaemon(age, store, t, { config })).socket;

/** A store behind a daemon, that lies at `dir`. */
export const storeAt = (socket: string, { url }: ClientStore): DaemonStore =>
  daemonStore(placesOf(url), socket);

/** The hashes in a store's database, by path. */
export async function hashesIn(
  age: Nix['age'],
  store: ClientStore,
  paths: readonly string[],
): Promise<Map<string, string>> {
  const { check } = await nix(age);
  const said = await check('nix-store', ['-q', '--hash', ...paths], { store, as: 'self' });
  const hashes = said.trim().split('\n');
  assert.equal(hashes.length, paths.length);
  return new Map(paths.map((path, at) => [path, hashes[at]!]));
}

/** Does it when it is first asked for. */
export function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
