/**
 * Directories for the clients: `kept` ones, made once for all test processes and runs, and
 * `scratch` ones, gone when their process ends. Both live in TMPDIR/granary-clients-UID.
 *
 * `node --test` runs each file in a process of its own, so several ask for the same directory at
 * once. The lock is the kernel's (flock, held by a child that waits for its input to end): a holder
 * that is killed lets go of it. What is kept appears by rename, whole or not at all, and is never
 * asked for again: remove it to see what the mirror holds today.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import type { User } from './process.ts';

const uid = process.getuid?.() ?? 0;

/** Whom clients run as: nobody when root runs the tests (Nix as root wants build users). */
export const client: User | undefined = uid === 0 ? { uid: 65534, gid: 65534 } : undefined;

/** The directory that `make` filled under this name, now or in an earlier run. */
export async function kept(name: string, make: (dir: string) => Promise<void>): Promise<string> {
  const dir = join(base(), name);
  if (existsSync(dir)) return dir;
  const unlock = await lock(`${dir}.lock`);
  try {
    if (existsSync(dir)) return dir;
    for (const part of readdirSync(base()).filter(entry => entry.startsWith(`${name}.part-`)))
      remove(join(base(), part));
    const part = open(mkdtempSync(`${dir}.part-`));
    try {
      await make(part);
      renameSync(part, dir);
    } catch (error) {
      remove(part);
      throw error;
    }
    return dir;
  } finally {
    unlock();
  }
}

let run: string | undefined;

/** A fresh directory that belongs to the client, and goes when this process ends. */
export function scratch(): string {
  if (run === undefined) {
    for (const entry of readdirSync(base())) {
      const pid = /^run-(\d+)-/.exec(entry)?.[1];
      if (pid && !existsSync(`/proc/${pid}`)) remove(join(base(), entry));
    }
    const dir = open(mkdtempSync(join(base(), `run-${process.pid}-`)));
    process.on('exit', () => remove(dir));
    run = dir;
  }
  return open(mkdtempSync(`${run}/`));
}

/** Remove a tree, read-only directories such as store paths' included. */
export function remove(dir: string): void {
  if (client === undefined && existsSync(dir)) spawnSync('chmod', ['-R', 'u+w', dir]);
  rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
}

/** Let the client write and everybody read. */
function open(dir: string): string {
  if (client) chownSync(dir, client.uid, client.gid);
  chmodSync(dir, 0o755);
  return dir;
}

function base(): string {
  const dir = join(tmpdir(), `granary-clients-${uid}`);
  mkdirSync(dir, { recursive: true });
  const { uid: owner } = lstatSync(dir);
  if (owner !== uid)
    throw new GranaryError('conflict', `Cannot use ${dir}: it belongs to another user`, { owner });
  chmodSync(dir, 0o755);
  return dir;
}

async function lock(file: string): Promise<() => void> {
  const holder = spawn('flock', [file, '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const failed = once(holder, 'close')
    .catch(() => {})
    .then(() => {
      throw new GranaryError('unavailable', `Cannot lock ${file} with flock`);
    });
  failed.catch(() => {});
  await Promise.race([once(holder.stdout, 'data'), failed]);
  return () => holder.stdin.end();
}
