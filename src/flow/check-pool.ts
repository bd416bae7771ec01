/** The checking threads, seen from the main thread. */
import { extname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import type { CheckResult, CheckTask } from './check-worker.ts';

export class CheckPool implements AsyncDisposable {
  readonly #idle: Worker[];
  readonly #all: readonly Worker[];

  constructor(threads: number) {
    setFlagsFromString('--expose-gc'); // for the threads: see pack-worker.ts
    const url = new URL(`./check-worker${extname(import.meta.url)}`, import.meta.url);
    this.#all = Array.from({ length: threads }, () => new Worker(url));
    this.#idle = [...this.#all];
  }

  /** Checks some files, in order. No more than `threads` calls at once. */
  async check(tasks: readonly CheckTask[]): Promise<readonly CheckResult[]> {
    const worker = this.#idle.pop();
    if (!worker) throw new Error('More checks at once than checking threads');
    return new Promise((done, fail) => {
      worker.once('error', fail);
      worker.once('message', (results: readonly CheckResult[]) => {
        worker.off('error', fail);
        this.#idle.push(worker);
        done(results);
      });
      worker.postMessage(tasks);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#all.map(worker => worker.terminate()));
  }
}
