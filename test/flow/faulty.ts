/**
 * A disk that fails as real ones do, and writers whose every step can be made to fail or to wait.
 *
 * What is written is visible at once, and safe only after a flush. A power cut keeps of what came after
 * the last flush what it likes: with a journal the renames and removals up to some moment, without one
 * any of them; and a file that was renamed before its bytes were safe may have lost all or some of them.
 * A flush is one of the whole file system, as `storage/directory.ts` does it.
 */
import { collect } from '../../src/bytes.ts';
import { systemError } from '../../src/errors.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { type Body, bodyOf, type Storage } from '../../src/storage/storage.ts';

export type Files = ReadonlyMap<string, Buffer>;

/** What a storage does to the disk at once; a call of `publish` is several of these. */
export interface Step {
  readonly does: 'read' | 'put' | 'flush' | 'show' | 'delete';
  readonly key: string;
}

/** Stands before every step of one writer: it may make it wait, or fail before or after. */
export type Gate = <T>(step: Step, take: () => Promise<T>) => Promise<T>;

interface Change {
  readonly key: string;
  /** undefined: the file goes */
  readonly value?: Buffer;
  /** Whether a power cut can take only the name, and not the bytes. */
  readonly isWhole: boolean;
}

export class Disk {
  readonly #memory = memoryStorage('the disk');
  #safe: Files = new Map();
  /** What came after the last flush. */
  #log: readonly Change[] = [];

  /** A disk on which these are safe. */
  static async holding(files: Files): Promise<Disk> {
    const disk = new Disk();
    disk.#safe = files;
    for (const [key, value] of files) await disk.#memory.put(key, bodyOf(value));
    return disk;
  }

  /** What a reader sees now. */
  get files(): Files {
    return replayed(this.#safe, this.#log);
  }

  /** What is left if the power goes now; `draw` gives numbers from 0 to below 1. */
  afterPowerCut(draw: () => number, { journal }: { readonly journal: boolean }): Files {
    const moment = Math.floor(draw() * (this.#log.length + 1));
    const kept = this.#log.filter((_, at) => (journal ? at < moment : draw() < 0.5));
    return replayed(
      this.#safe,
      kept.map(change => remains(change, draw)),
    );
  }

  /** A writer's way to the disk. */
  storage(gate: Gate = (_, take) => take()): Storage {
    const memory = this.#memory;
    const read = <T>(key: string, take: () => Promise<T>): Promise<T> =>
      gate({ does: 'read', key }, take);
    const list = (prefix: string) => read(prefix, () => Array.fromAsync(memory.list!(prefix)));
    const write = (does: 'put' | 'show', key: string, body: Body): Promise<void> =>
      gate({ does, key }, async () => {
        // As in a directory: what is there may be published, and only safe bytes take its name.
        const isWhole = does === 'show' || (await memory.head(key)) !== undefined;
        await memory.put(key, body);
        const value = await collect((await memory.get(key))!.bytes, body.size); // the body may fail when read again
        this.#log = [...this.#log, { key, value: value!, isWhole }];
      });
    const flush = (): Promise<void> =>
      gate({ does: 'flush', key: '' }, async () => {
        this.#safe = this.files;
        this.#log = [];
      });
    let isClean = true;
    return {
      url: memory.url,
      head: key => read(key, () => memory.head(key)),
      get: (key, span) => read(key, () => memory.get(key, span)),
      list: async function* (prefix) {
        yield* await list(prefix);
      },
      inventory: async function* () {
        const values = await list('');
        for (const key of new Set(values.flatMap(({ key }) => foldersAbove(key))))
          yield { key, kind: 'folder', size: 0 };
        for (const { key, size } of values) yield { key, kind: 'value', size };
      },
      top: async () => [...new Set((await list('')).map(({ key }) => key.replace(/\/.*/, '')))],
      put: async (key, body) => {
        isClean = false;
        await write('put', key, body);
      },
      publish: async entries => {
        if (entries.length === 0 && isClean) return;
        await flush();
        for (const { key, body } of entries) await write('show', key, body);
        if (entries.length > 0) await flush();
        isClean = true;
      },
      delete: key =>
        gate({ does: 'delete', key }, async () => {
          await memory.delete!(key);
          this.#log = [...this.#log, { key, isWhole: true }];
        }),
    };
  }
}

function replayed(files: Files, log: readonly Change[]): Files {
  const now = new Map(files);
  for (const { key, value } of log)
    if (value) now.set(key, value);
    else now.delete(key);
  return now;
}

/** A change after a power cut that kept its name: bytes that were not safe are all there, none, or some. */
function remains(change: Change, draw: () => number): Change {
  const { value, isWhole } = change;
  if (!value || isWhole) return change;
  const [luck, share] = [draw(), draw()];
  if (luck < 1 / 3) return change;
  return {
    ...change,
    value: value.subarray(0, luck < 2 / 3 ? 0 : Math.floor(share * value.length)),
  };
}

const foldersAbove = (key: string): readonly string[] =>
  [...key.matchAll(/\//g)].map(({ index }) => key.slice(0, index));

/** What happens at one step: an error without or with its effect; or that step and all later ones fail. */
export type Fault = 'is refused' | 'fails once it is done' | 'is the last';

/** How a step can fail; reading has no effect that could be there or not. */
export const faultsOf = ({ does }: Step): readonly Fault[] =>
  does === 'read'
    ? ['is refused', 'is the last']
    : ['is refused', 'fails once it is done', 'is the last'];

/** Lets all steps pass but the one with this number, counted from 0. */
export function faultAt(number: number, fault: Fault): Gate {
  let steps = 0;
  return async (step, take) => {
    const at = steps++;
    if (fault === 'is the last' ? at >= number : fault === 'is refused' && at === number)
      throw failure(step);
    const taken = await take();
    if (fault === 'fails once it is done' && at === number) throw failure(step);
    return taken;
  };
}

const failure = ({ does, key }: Step): Error =>
  systemError(
    `${does} "${key}" in the disk`,
    does === 'read'
      ? Object.assign(new Error('the device reports an error'), { code: 'EIO' })
      : { code: 'ENOSPC' },
  );

/** Keeps the steps that are taken. */
export function recorder(): { readonly steps: readonly Step[]; readonly gate: Gate } {
  const steps: Step[] = [];
  return {
    steps,
    gate: (step, take) => {
      steps.push(step);
      return take();
    },
  };
}

/**
 * Runs writers together, one step at a time: whose turn it is, is drawn once all of them wait. So one
 * sequence of draws is one order of steps, however long the work between them takes.
 */
export async function interleaved(
  draw: () => number,
  writers: readonly ((gate: Gate) => Promise<unknown>)[],
): Promise<void> {
  const waiting = new Map<number, () => void>();
  let running = writers.length;
  let last = 0;
  const restlessness = draw(); // some runs change often, some have long turns
  const pass = (): void => {
    if (running === 0 || waiting.size < running) return;
    const ready = [...waiting.keys()].sort();
    const next = ready[Math.floor(draw() * ready.length)]!;
    if (!waiting.has(last) || draw() < restlessness) last = next;
    const go = waiting.get(last)!;
    waiting.delete(last);
    go();
  };
  const run = async (writer: (gate: Gate) => Promise<unknown>, me: number): Promise<void> => {
    try {
      await writer(async (_, take) => {
        await new Promise<void>(turn => {
          waiting.set(me, turn);
          pass();
        });
        return take();
      });
    } finally {
      running -= 1;
      pass();
    }
  };
  const ends = await Promise.allSettled(writers.map(run));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
