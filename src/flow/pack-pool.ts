/** The packing threads, seen from the main thread: hands out trees, passes blocks between threads. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { codecFor } from '../cache/codec.ts';
import {
  creditsPerThread,
  type FromWorker,
  type PackResult,
  type PackSettings,
  type PackTask,
  type ToWorker,
  type WorkerStart,
} from './pack-protocol.ts';

interface Batch {
  readonly tasks: readonly PackTask[];
  readonly done: (results: readonly PackResult[]) => void;
  readonly fail: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  /** What it packs; undefined while it is idle. */
  batch?: Batch;
  /** Blocks of other threads that it has in hand. */
  pieces: number;
}

export class PackPool implements AsyncDisposable {
  readonly #settings: PackSettings;
  readonly #threads: Thread[] = [];
  readonly #waiting: Batch[] = [];
  readonly #perThread: number;
  readonly #credits = new Int32Array(new SharedArrayBuffer(4));
  #dead: Error | undefined;
  /** Hears of NAR bytes read in big trees, before the tree is done. */
  onProgress: (narBytes: number) => void = () => {};

  constructor(settings: PackSettings) {
    this.#settings = settings;
    this.#perThread = creditsPerThread(codecFor(settings.compression).pieceSize ?? 0);
  }

  /** Starts what is missing to so many threads. It takes 0.1 s until one packs, so start the first early. */
  start(threads: number): void {
    while (this.#threads.length < threads) {
      this.#threads.push(this.#started(this.#threads.length));
      Atomics.add(this.#credits, 0, this.#perThread);
    }
  }

  /** Packs a batch of trees in a thread, as soon as one is idle. */
  pack(tasks: readonly PackTask[]): Promise<readonly PackResult[]> {
    if (this.#dead) return Promise.reject(this.#dead);
    return new Promise((done, fail) => {
      this.#waiting.push({ tasks, done, fail });
      this.#next();
    });
  }

  /** Gives what waits longest to an idle thread. */
  #next(): void {
    const thread = leastLoaded(this.#threads.filter(each => !each.batch));
    const batch = thread && this.#waiting.shift();
    if (!batch) return;
    thread.batch = batch;
    Atomics.sub(this.#credits, 0, this.#perThread);
    send(thread, { type: 'pack', tasks: batch.tasks });
  }

  #finish(thread: Thread, results: readonly PackResult[]): void {
    const { batch } = thread;
    delete thread.batch;
    Atomics.add(this.#credits, 0, this.#perThread);
    this.#next(); // before these results are looked at: the thread must not wait for that
    batch?.done(results);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.worker.terminate()));
  }

  #started(at: number): Thread {
    const workerData: WorkerStart = { settings: this.#settings, credits: this.#credits.buffer };
    const url = new URL(`./pack-worker${extname(import.meta.url)}`, import.meta.url);
    const thread: Thread = { worker: new Worker(url, { workerData }), pieces: 0 };
    thread.worker.on('message', (message: FromWorker) => this.#hear(at, thread, message));
    const die = (error: Error): void => {
      this.#dead ??= error;
      for (const each of this.#threads) each.batch?.fail(error);
      for (const batch of this.#waiting.splice(0)) batch.fail(error);
    };
    thread.worker.on('error', error => die(error as Error));
    thread.worker.on('exit', code => die(new Error(`A packing thread ended with ${code}`)));
    return thread;
  }

  #hear(at: number, thread: Thread, message: FromWorker): void {
    if (message.type === 'packed') this.#finish(thread, message.results);
    else if (message.type === 'progress') this.onProgress(message.narBytes);
    else if (message.type === 'offer') {
      const helper = leastLoaded(this.#threads.filter(each => !each.batch)) ?? thread;
      helper.pieces += 1;
      send(helper, { ...message, type: 'compress', leader: at }, message.block);
    } else {
      thread.pieces -= 1;
      Atomics.add(this.#credits, 0, 1);
      const { leader, piece } = message;
      send(this.#threads[leader]!, message, ...(piece ? [piece] : []));
    }
  }
}

const leastLoaded = (threads: readonly Thread[]): Thread | undefined =>
  threads.reduce<Thread | undefined>(
    (best, thread) => (best && best.pieces <= thread.pieces ? best : thread),
    undefined,
  );

const send = (thread: Thread, message: ToWorker, ...moved: readonly Uint8Array[]): void =>
  thread.worker.postMessage(
    message,
    moved.map(bytes => bytes.buffer as ArrayBuffer),
  );
