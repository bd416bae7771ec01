/**
 * One program run to its end, as one user, with exactly the environment that was given: what the
 * machine or the developer has set never reaches a client. Output is latin-1: one char, one byte.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { GranaryError } from '../../src/errors.ts';

export interface Result {
  /** The exit status; 128 + the signal's number for a program that was killed. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
}

interface ExecuteOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  /** Another user, which only root may ask for. */
  readonly user?: User | undefined;
  /** When it is killed. */
  readonly timeoutMs?: number;
}

/** Start `argv` with pipes on all three ends; who starts a program ends it. */
export function start(argv: readonly string[], options: ExecuteOptions = {}): ChildProcess {
  const { env = { PATH: process.env.PATH }, cwd = '/', user } = options;
  return spawn(argv[0]!, argv.slice(1), { env, cwd, ...user });
}

/** Run `argv` to its end, whatever its exit status. */
export async function execute(
  argv: readonly string[],
  options: ExecuteOptions = {},
): Promise<Result> {
  const child = start(argv, options);
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', error =>
      reject(new GranaryError('absent', `Cannot run ${argv[0]}`, {}, error)),
    );
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  });
  const { timeoutMs } = options;
  const late = timeoutMs && setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  child.on('close', () => clearTimeout(late));
  // A program that ends without reading its input is no failure of ours.
  child.stdin!.on('error', () => {});
  child.stdin!.end(options.input);
  const read = async (stream: AsyncIterable<Buffer>): Promise<string> =>
    Buffer.concat(await Array.fromAsync(stream)).toString('latin1');
  const [code, stdout, stderr] = await Promise.all([
    ended,
    read(child.stdout!),
    read(child.stderr!),
  ]);
  return { code, stdout, stderr };
}
