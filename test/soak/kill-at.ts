/**
 * Loaded before the program (`node --import`): counts what it asks of the file system that changes
 * something or makes it safe, in all its threads together, and kills the process at the KILL_AT-th of
 * these. A write is then done by half, if KILL_HALF is set; all else is not done at all.
 *
 * At the end of a run that was not killed, the count goes to the file that KILL_COUNT names.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';

const { KILL_AT: at = '0', KILL_HALF: half, KILL_COUNT: countFile } = process.env;
const killAt = Number(at);

const name = 'events of the file system';
if (isMainThread) setEnvironmentData(name, new SharedArrayBuffer(4) as never);
const count = new Int32Array(getEnvironmentData(name) as unknown as SharedArrayBuffer);

// biome-ignore lint/suspicious/noExplicitAny: any function of the platform
type Call = (...args: any[]) => any;

const originals = { write: fs.writeSync, close: fs.closeSync, open: fs.openSync };

/** Counts one; never returns where the process is to die. `write` does half of the thing before. */
function event(write?: () => void): void {
  if (Atomics.add(count, 0, 1) + 1 !== killAt) return;
  if (half) write?.();
  process.kill(process.pid, 'SIGKILL');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it is there
}

function wrap(
  module: object,
  names: readonly string[],
  isEvent: (args: unknown[]) => boolean = () => true,
): void {
  for (const each of names) {
    const call = Reflect.get(module, each) as Call;
    Reflect.set(module, each, function (this: unknown, ...args: unknown[]) {
      if (isEvent(args)) event();
      return call.apply(this, args);
    });
  }
}

const halfOf = (bytes: Uint8Array | string): Uint8Array | string =>
  bytes.slice(0, bytes.length >> 1);
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

fs.writeSync = ((fd: number, bytes: Uint8Array, ...rest: number[]) => {
  if (fd > 2) event(() => originals.write(fd, halfOf(bytes) as Uint8Array));
  return (originals.write as Call)(fd, bytes, ...rest);
}) as typeof fs.writeSync;

const writeFileSync = fs.writeFileSync;
fs.writeFileSync = ((file: string, bytes: Uint8Array | string, options?: fs.WriteFileOptions) => {
  event(() => writeFileSync(file, halfOf(bytes), options));
  writeFileSync(file, bytes, options);
}) as typeof fs.writeFileSync;

const handle = await fsPromises.open(process.execPath);
const prototype = Object.getPrototypeOf(handle) as { writev: Call };
await handle.close();
const { writev } = prototype;
prototype.writev = function (this: fsPromises.FileHandle, chunks: Uint8Array[]) {
  event(() => originals.write(this.fd, halfOf(chunks[0]!) as Uint8Array));
  return writev.call(this, chunks);
};
wrap(prototype, ['write', 'writeFile', 'sync', 'datasync']);
syncBuiltinESMExports();

if (isMainThread && countFile !== undefined)
  process.on('exit', () => writeFileSync(countFile, String(Atomics.load(count, 0))));
