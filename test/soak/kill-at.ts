/**
 * Loaded before the program (`node --import`): counts what it asks of the file system that changes
 * something or makes it safe, in all its threads together, and kills the process at the KILL_AT-th of
 * these. A write is then done by half, if KILL_HALF is set; all else is not done at all.
 *
 * The file that KILL_NOTE names then tells what it died at; after a run that ended by itself, the count.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';

const { KILL_AT: at = '0', KILL_HALF: half, KILL_NOTE: note } = process.env;
const killAt = Number(at);

const name = 'events of the file system';
if (isMainThread) setEnvironmentData(name, new SharedArrayBuffer(4) as never);
const count = new Int32Array(getEnvironmentData(name) as unknown as SharedArrayBuffer);

// biome-ignore lint/suspicious/noExplicitAny: any function of the platform
type Call = (...args: any[]) => any;

const { openSync, writeSync, closeSync } = fs;

/** Counts one; never returns where the process is to die. `write` does half of the thing before. */
function event(what: string, write?: () => void): void {
  if (Atomics.add(count, 0, 1) + 1 !== killAt) return;
  if (half) write?.();
  tell(half && write ? `half a ${what}` : what);
  process.kill(process.pid, 'SIGKILL');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it is there
}

/** Not counted. */
function tell(text: string): void {
  if (note === undefined) return;
  const fd = openSync(note, 'w');
  (writeSync as Call)(fd, text);
  closeSync(fd);
}

/** Counts each call of these. */
function wrap(
  module: object,
  names: readonly string[],
  isEvent: (args: unknown[]) => boolean = () => true,
): void {
  for (const each of names) {
    const call = Reflect.get(module, each) as Call;
    Reflect.set(module, each, function (this: unknown, ...args: unknown[]) {
      if (isEvent(args)) event(each.replace(/Sync$/, ''));
      return call.apply(this, args);
    });
  }
}

const halfOf = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length >> 1);
const opensToWrite = ([, flags]: unknown[]): boolean =>
  typeof flags === 'string' ? flags !== 'r' : typeof flags === 'number' && (flags & 3) !== 0;

const changing = [
  'rename',
  'rm',
  'unlink',
  'mkdir',
  'rmdir',
  'link',
  'symlink',
  'truncate',
  'copyFile',
];
wrap(
  fs,
  [...changing, 'fsync', 'fdatasync', 'ftruncate'].map(each => `${each}Sync`),
);
wrap(fs, ['openSync'], opensToWrite);
wrap(fsPromises, [...changing, 'writeFile']);
wrap(fsPromises, ['open'], opensToWrite);
wrap(childProcess, ['execFile', 'spawn']); // of `sync`

// What writeFileSync does with bytes is these two as well.
fs.writeSync = ((fd: number, bytes: Uint8Array, ...rest: number[]) => {
  if (fd > 2) event('write', () => writeSync(fd, halfOf(bytes)));
  return (writeSync as Call)(fd, bytes, ...rest);
}) as typeof fs.writeSync;

const handle = await fsPromises.open(process.execPath);
const prototype = Object.getPrototypeOf(handle) as { writev: Call };
await handle.close();
const { writev } = prototype;
prototype.writev = function (this: fsPromises.FileHandle, chunks: Uint8Array[]) {
  event('write', () => writeSync(this.fd, halfOf(chunks[0]!)));
  return writev.call(this, chunks);
};
wrap(prototype, ['write', 'writeFile', 'sync', 'datasync']);
syncBuiltinESMExports();

if (isMainThread) process.on('exit', () => tell(String(Atomics.load(count, 0))));
