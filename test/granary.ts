/** The program, as a user runs it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, copyFileSync, cpSync } from 'node:fs';
import { join } from 'node:path';
import { scratch } from './clients/kept.ts';

export const repository = join(import.meta.dirname, '..');
export const program = join(repository, 'bin/granary.js');

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Node and the program in a place that clients may read, wherever the repository lies. */
export function copyForClients(): { readonly node: string; readonly folder: string } {
  const folder = scratch();
  for (const part of ['src', 'bin', 'package.json'])
    cpSync(join(repository, part), join(folder, part), { recursive: true });
  const node = join(folder, 'node');
  copyFileSync(process.execPath, node, constants.COPYFILE_FICLONE);
  return { node, folder };
}

/** Runs `granary` with these words to its end. */
export async function granary(args: readonly string[]): Promise<Ran> {
  return ended(startGranary(args));
}

export const startGranary = (
  args: readonly string[],
  node: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
  input: 'ignore' | 'pipe' = 'ignore',
): ChildProcess =>
  spawn(process.execPath, [...node, program, ...args], {
    stdio: [input, 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });

export async function ended(child: ChildProcess): Promise<Ran> {
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream]?.setEncoding('utf8').on('data', text => {
      output[stream] += text;
    });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ...output };
}
