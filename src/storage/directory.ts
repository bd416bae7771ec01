/**
 * A Storage in a directory: a key is a file.
 *
 * Every file lands under a temporary name, `KEY.tmp-HOST-PID-N`, and is then renamed. Durability
 * goes by batch: files that are put are not flushed one by one (2,000 small ones: 2.3 s so, 0.25 s
 * with one flush of the file system); `publish` writes its entries under temporary names, flushes
 * once, and only then renames them, in order. So a power cut can leave no published file without
 * its bytes, nor without the bytes of anything that was put before it.
 * That it keeps no later entry of a batch without the earlier rests on a journal that keeps renames in
 * order, as those of ext4, XFS and Btrfs do.
 *
 * Small files go by synchronous calls, which cost a tenth of a trip through the thread pool.
 */
import {
  closeSync,
  constants,
  createReadStream,
  type Dirent,
  existsSync,
  fdatasyncSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { collect } from '../bytes.ts';
import { GranaryError, systemError } from '../errors.ts';
import { atExit } from './at-exit.ts';
import {
  type Body,
  checkKey,
  type Entry,
  type Storage,
  type Thing,
  temporaryName,
} from './storage.ts';
import { stepsOf } from './write-fully.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const smallBytes = 256 * 1024;
/** bytes, of a file's name */
const longestName = 255;
const staleMs = 24 * 3600 * 1000;

export interface DirectoryOptions {
  /** Whether `publish` makes files safe against a power cut. */
  readonly flush?: boolean;
}

/** Opens the directory, which need not exist yet: the first put makes it. */
export function directoryStorage(root: string, { flush = true }: DirectoryOptions = {}): Storage {
  const unflushed = new Set<string>();
  const known = new Set<string>();
  const fileOf = (key: string): string => `${root}/${checkKey(key)}`; // join costs 5 µs

  const makeParent = (file: string): void => {
    const parent = file.slice(0, file.lastIndexOf('/')); // dirname costs 3 µs
    if (known.has(parent)) return;
    mkdirSync(parent, { recursive: true });
    for (let folder = parent; folder.length > root.length; folder = dirname(folder))
      if (lstatSync(folder).isSymbolicLink())
        throw new GranaryError(
          'usage',
          `Cannot write into ${folder}: it is a link that leads out of ${root}; put a folder there`,
        );
    known.add(parent);
  };

  /** Writes the body beside its place; gives the temporary's name. */
  const stage = async (file: string, body: Body): Promise<string> => {
    makeParent(file);
    if (body.spool !== undefined) return body.spool;
    const temporary = temporaryFor(file);
    try {
      await writeNew(temporary, body);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    return temporary;
  };

  const settle = (temporary: string, file: string, bytes: 'safe' | 'unsafe'): void => {
    try {
      // What is there may be published already: its name must not come to stand for unsafe bytes.
      if (flush && bytes === 'unsafe' && existsSync(file)) flushOne(temporary);
      renameSync(temporary, file);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    if (flush) unflushed.add(file);
  };

  const flushAll = async (files: Iterable<string>): Promise<void> => {
    const flushed = [...files]; // others may be put meanwhile: those are not safe yet
    await flushFileSystem(root, flushed);
    for (const file of flushed) unflushed.delete(file);
  };

  return {
    url: root,

    head: key =>
      explained(`read "${key}" in ${root}`, async () => {
        const stat = orAbsentSync(() => lstatSync(fileOf(key)));
        return stat?.isFile() ? { size: stat.size, modified: stat.mtime } : undefined;
      }),

    get: (key, span) =>
      explained(`read "${key}" in ${root}`, async () =>
        orAbsent(() => {
          const fd = openSync(fileOf(key), O_RDONLY | O_NOFOLLOW | O_NONBLOCK); // a fifo must not hang us
          let handedOn = false;
          try {
            const stat = fstatSync(fd);
            if (!stat.isFile()) return undefined;
            const start = Math.min(span?.start ?? 0, stat.size);
            const size = Math.min(span?.length ?? stat.size, stat.size - start);
            if (size <= smallBytes) return { size, bytes: [readFully(fd, start, size)] };
            handedOn = true;
            return {
              size,
              bytes: createReadStream('', {
                fd,
                start,
                end: start + size - 1,
                highWaterMark: 1 << 18,
              }),
            };
          } finally {
            if (!handedOn) closeSync(fd);
          }
        }),
      ),

    async put(key, body) {
      await explained(`write "${key}" in ${root}`, async () => {
        const file = fileOf(key);
        settle(await stage(file, body), file, 'unsafe');
      });
    },

    async publish(entries: readonly Entry[]) {
      if (entries.length === 0 && unflushed.size === 0) return;
      await explained(`write to ${root}`, async () => {
        const staged: { temporary: string; file: string }[] = [];
        const clean = (): void => {
          for (const { temporary } of staged) rmSync(temporary, { force: true });
        };
        const dismiss = atExit(clean); // an interrupt, too, takes them along
        try {
          for (const { key, body } of entries)
            staged.push({ temporary: await stage(fileOf(key), body), file: fileOf(key) });
          if (flush) await flushAll([...unflushed, ...staged.map(entry => entry.temporary)]);
          for (const { temporary, file } of staged) settle(temporary, file, 'safe');
        } catch (error) {
          clean();
          throw error;
        } finally {
          dismiss();
        }
        if (flush && staged.length > 0) await flushAll(staged.map(entry => entry.file));
      });
    },

    async delete(key) {
      await explained(`delete "${key}" in ${root}`, async () =>
        rmSync(fileOf(key), { force: true }),
      );
    },

    async *list(prefix) {
      for (const key of keysBelow(root, '', prefix)) {
        const stat = lstatSync(join(root, key), { throwIfNoEntry: false });
        if (stat?.isFile()) yield { key, size: stat.size, modified: stat.mtime };
      }
    },

    local: fileOf,

    async *inventory() {
      yield* thingsBelow(root, '');
    },

    async top() {
      return entriesOf(root, '').map(entry => entry.name);
    },

    spool(near) {
      const file = temporaryFor(fileOf(near));
      makeParent(file);
      return file;
    },

    sweep: () =>
      explained(`remove left-over files in ${root}`, async () => {
        let swept = 0;
        for (const key of keysBelow(root, '', '')) {
          const file = `${root}/${key}`;
          if (!isLeftOver(file)) continue;
          rmSync(file, { force: true });
          swept += 1;
        }
        return swept;
      }),

    async free() {
      let place = root;
      while (!statSync(place, { throwIfNoEntry: false })) place = dirname(place);
      const { bavail, bsize } = statfsSync(place);
      return bavail * bsize;
    },
  };
}

/** HOST of a temporary's name: process ids mean something only within one process namespace. */
const here = (() => {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
  } catch {
    // not Linux: the host's name alone has to do
  }
  return `${hostname().replace(/[^A-Za-z0-9.-]/g, '_')}.${namespace}`;
})();

const mine = `.tmp-${here}-${process.pid}-`;
let temporaries = 0;
/** Of a name so long that there is no room behind it, the beginning. */
function temporaryFor(file: string): string {
  const end = `${mine}${temporaries++}`;
  const start = file.lastIndexOf('/') + 1;
  return `${file.slice(0, start + longestName - end.length)}${end}`;
}

/** Law 6: a temporary may be swept when its writer is gone, or when it is older than a day. */
function isLeftOver(file: string): boolean {
  const name = temporaryName.exec(file);
  if (!name) return false;
  const [, host, pid] = name;
  if (host === here && Number(pid) !== process.pid && !isAlive(Number(pid))) return true;
  const stat = lstatSync(file, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > staleMs;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

async function writeNew(file: string, body: Body): Promise<void> {
  let size = 0;
  if (body.size <= smallBytes) {
    const bytes = await collect(body.open(), body.size);
    size = bytes?.length ?? body.size + 1;
    if (bytes) writeFileSync(file, bytes, { flag: 'wx' });
  } else {
    await using handle = await open(file, 'wx');
    for await (const chunk of body.open()) {
      for (const part of stepsOf(chunk))
        for (let at = 0; at < part.length; ) at += (await handle.write(part, at)).bytesWritten; // a full disk takes a part
      size += chunk.length;
    }
  }
  if (size !== body.size)
    throw new GranaryError(
      'corrupt',
      `Cannot write ${file}: the source has another size than it said`,
      {
        expected: body.size,
        actual: size,
      },
    );
}

function readFully(fd: number, start: number, size: number): Buffer {
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  while (at < size) {
    const count = readSync(fd, buffer, at, size - at, start + at);
    if (count === 0) break;
    at += count;
  }
  return buffer.subarray(0, at);
}

/** What is in a folder; the `lost+found` at the top of a disk is nobody's business. */
function entriesOf(root: string, directory: string): Dirent[] {
  const folder = join(root, directory);
  try {
    const entries = orAbsentSync(() => readdirSync(folder, { withFileTypes: true })) ?? [];
    return entries.filter(({ name }) => directory !== '' || name !== 'lost+found');
  } catch (error) {
    throw new GranaryError(
      'unavailable',
      `Cannot list ${folder}: ${(error as Error).message}`,
      {},
      error,
    );
  }
}

/** Keys of all files below `directory`, walking only where keys may begin with `prefix`. */
function* keysBelow(root: string, directory: string, prefix: string): Generator<string> {
  for (const entry of entriesOf(root, directory)) {
    const key = directory + entry.name;
    if (entry.isDirectory()) {
      const below = `${key}/`;
      if (below.startsWith(prefix) || prefix.startsWith(below))
        yield* keysBelow(root, below, prefix);
    } else if (key.startsWith(prefix)) yield key;
  }
}

function* thingsBelow(root: string, directory: string): Generator<Thing> {
  for (const entry of entriesOf(root, directory)) {
    const key = directory + entry.name;
    if (entry.isFile()) {
      const stat = lstatSync(join(root, key), { throwIfNoEntry: false });
      if (stat) yield { key, kind: 'value', size: stat.size };
      else if (key.includes('\uFFFD')) yield { key, kind: 'other', size: 0 }; // a name that is no UTF-8
    } else if (entry.isDirectory()) {
      const below = thingsIn(root, `${key}/`);
      const kind = below === undefined ? 'closed folder' : below.length ? 'folder' : 'empty folder';
      yield { key, kind, size: 0 };
      yield* below ?? [];
    } else yield { key, kind: entry.isSymbolicLink() ? 'link' : 'other', size: 0 };
  }
}

/** All below a folder; undefined when it cannot be listed: a check of the whole goes on without it. */
function thingsIn(root: string, directory: string): readonly Thing[] | undefined {
  try {
    return [...thingsBelow(root, directory)];
  } catch (error) {
    if (error instanceof GranaryError) return undefined;
    throw error;
  }
}

/** One `sync -f` for the whole file system; where there is no such tool, each file by itself. */
async function flushFileSystem(root: string, files: Iterable<string>): Promise<void> {
  try {
    const { execFile } = await import('node:child_process'); // 4 ms, which who does not flush need not wait for
    const { promisify } = await import('node:util');
    await promisify(execFile)('sync', ['-f', root]);
    return;
  } catch {
    // no coreutils here
  }
  const directories = new Set<string>();
  for (const file of files) {
    flushOne(file);
    directories.add(dirname(file));
  }
  for (const directory of directories) flushOne(directory);
}

function flushOne(file: string): void {
  const fd = openSync(file, 'r');
  try {
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A link is no value: it may lead anywhere on this machine, and a copy of the directory would not have what is there. */
const absentCodes = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);
const isAbsent = (error: unknown): boolean =>
  absentCodes.has((error as NodeJS.ErrnoException).code ?? '');

function orAbsentSync<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

const orAbsent = async <T>(action: () => T): Promise<T | undefined> => orAbsentSync(action);

async function explained<T>(doing: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof GranaryError) throw error;
    throw systemError(doing, error);
  }
}
