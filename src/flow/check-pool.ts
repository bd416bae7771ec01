/** The checking threads, seen from the main thread: started when they are needed (for nothing, none is), and no more than that. */
import { dirname, extname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { cacheInfoKey } from '../cache/cache.ts';
import type { SecretKey } from '../format/key.ts';
import type { Storage } from '../storage/storage.ts';
import type {
  CheckRequest,
  CheckResult,
  CheckTask,
  CopyResult,
  CopyTask,
  NarInfoRequest,
  SignRequest,
} from './check-worker.ts';
import type { Narration } from './narration.ts';
import type { Signed, SignWanted } from './signed.ts';

/** All that a thread makes is garbage at once: left to itself it lets 30 MiB of it pile up. */
const youngMb = 4;

/** bytes, of which there is work for all threads for longer than they take to start */
const startEarlyFrom = 64 << 20;

/** The folder of a storage whose files threads can open. */
export const rootOf = (storage: Storage): string | undefined =>
  storage.local && dirname(storage.local(cacheInfoKey));

export class CheckPool implements AsyncDisposable {
  readonly #all: Worker[] = [];
  readonly #idle: Worker[] = [];

  /** Starts so many threads early, where there are enough bytes to read: it takes 50 ms until one works. */
  startFor(bytes: number, threads: number): void {
    if (bytes < startEarlyFrom) return;
    while (this.#all.length < threads) this.#idle.push(this.#start());
  }

  /** Checks some files, in order. There are as many threads as calls at once. */
  async files(tasks: readonly CheckTask[]): Promise<readonly CheckResult[]> {
    return tasks.length === 0 ? [] : this.#ask({ tasks });
  }

  /** Reads narinfos; of those that went away, nothing. */
  narInfos(request: NarInfoRequest): Promise<readonly Narration[]> {
    return this.#ask(request);
  }

  /** Signs narinfos; the new texts are written nowhere. */
  signed({ keys, ...request }: Omit<SignRequest, 'drop'> & SignWanted): Promise<readonly Signed[]> {
    return this.#ask(request, keys);
  }

  /** Copies files as they are. Throws what keeps a copy from being written. */
  async copies(tasks: readonly CopyTask[]): Promise<readonly CopyResult[]> {
    return tasks.length === 0 ? [] : this.#ask({ copies: tasks });
  }

  /** Keys travel as the objects that they are: their text is nowhere. */
  #ask<Answer>(request: CheckRequest, keys: readonly SecretKey[] = []): Promise<Answer> {
    const worker = this.#idle.pop() ?? this.#start();
    return new Promise((done, fail) => {
      worker.once('error', fail);
      worker.once('message', (answer: string) => {
        worker.off('error', fail);
        this.#idle.push(worker);
        done(JSON.parse(answer));
      });
      worker.postMessage([JSON.stringify(request), keys]);
    });
  }

  #start(): Worker {
    setFlagsFromString('--expose-gc'); // for the threads: see pack-worker.ts
    const url = new URL(`./check-worker${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(url, { resourceLimits: { maxYoungGenerationSizeMb: youngMb } });
    this.#all.push(worker);
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#all.map(worker => worker.terminate()));
  }
}
