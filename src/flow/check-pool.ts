/** The checking threads, seen from the main thread: started when they are needed, and no more than that. */
import { extname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import type { PublicKey } from '../format/key.ts';
import type { CheckRequest, CheckResult, CheckTask, SignedText } from './check-worker.ts';

/** All that a thread makes is garbage at once: left to itself it lets 30 MiB of it pile up. */
const youngMb = 4;

export class CheckPool implements AsyncDisposable {
  readonly #all: Worker[] = [];
  readonly #idle: Worker[] = [];

  /** Checks some files, in order. There are as many threads as calls at once. */
  files(tasks: readonly CheckTask[]): Promise<readonly CheckResult[]> {
    return this.#ask({ tasks });
  }

  /** Of each text's signatures, whether they hold. */
  signatures(
    texts: readonly SignedText[],
    keys: readonly PublicKey[],
  ): Promise<readonly (readonly boolean[])[]> {
    return this.#ask({ texts, keys: keys.map(({ text }) => text) });
  }

  #ask<Answer>(request: CheckRequest): Promise<Answer> {
    const worker = this.#idle.pop() ?? this.#start();
    return new Promise((done, fail) => {
      worker.once('error', fail);
      worker.once('message', (answer: string) => {
        worker.off('error', fail);
        this.#idle.push(worker);
        done(JSON.parse(answer));
      });
      worker.postMessage(JSON.stringify(request));
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
