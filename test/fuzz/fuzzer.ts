/**
 * Gives every parser hostile input, and holds it to two laws: only a GranaryError escapes, and no case
 * takes longer than its limit. A hang cannot be ended from inside: the cases run in a thread.
 */
import { once } from 'node:events';
import { setInterval } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type Case, caseInput } from './target.ts';
import { targets } from './targets.ts';

/** What the thread is to do; it tells in `now` where it is: target, index, and how many cases so far. */
export interface Task {
  readonly seed: number;
  readonly until: { readonly rounds: number } | { readonly time: number };
  readonly now: Int32Array;
}

interface Tally {
  readonly name: string;
  readonly cases: number;
  readonly accepted: number;
  readonly ms: number;
}

/** What the thread says: a failure as it comes, and the tallies at its end. */
export type Words =
  | { readonly failed: Case; readonly error: string }
  | { readonly tallies: readonly Tally[] };

/** Prints what it did; throws with the input, to be run again, when a law is broken. */
export async function fuzz(
  { seed, until }: Pick<Task, 'seed' | 'until'>,
  print: (line: string) => void,
): Promise<void> {
  const now = new Int32Array(new SharedArrayBuffer(12));
  const start = Date.now();
  const worker = new Worker(new URL('./worker.ts', import.meta.url), {
    workerData: { seed, until, now } satisfies Task,
  });
  const failures: string[] = [];
  let tallies: readonly Tally[] = [];
  const at = (): Case => ({ seed, target: Atomics.load(now, 0), index: Atomics.load(now, 1) });
  worker.on('message', (words: Words) => {
    if ('tallies' in words) tallies = words.tallies;
    else failures.push(failureText(words.failed, words.error));
  });
  worker.on('error', error => failures.push(failureText(at(), String(error.stack))));
  const over = new AbortController();
  const ended = once(worker, 'exit').finally(() => over.abort());
  const watched = watch(now, over.signal).then(async () => {
    if (over.signal.aborted) return;
    failures.push(failureText(at(), `it takes over ${targets[at().target]!.limitMs} ms`));
    await worker.terminate();
  });
  await Promise.all([ended, watched]);
  for (const { name, cases, accepted, ms } of tallies)
    print(
      `${name}: ${cases} cases, ${accepted} accepted, ${cases - accepted} refused, ` +
        `limit ${targets.find(target => target.name === name)!.limitMs} ms a case, ` +
        `mean ${((1000 * ms) / cases).toFixed(0)} µs`,
    );
  const peak = process.resourceUsage().maxRSS / 1024;
  const seconds = ((Date.now() - start) / 1000).toFixed(0);
  const cases = Atomics.load(now, 2);
  print(`seed ${seed}: ${cases} cases in ${seconds} s, peak memory ${peak.toFixed(0)} MiB`);
  if (failures.length > 0) throw new Error(failures.join('\n'));
}

/** Comes back when one case takes too long, or when all is over. */
async function watch(now: Int32Array, over: AbortSignal): Promise<void> {
  let [seen, since] = [-1, 0];
  try {
    for await (const _ of setInterval(50, undefined, { signal: over })) {
      const count = Atomics.load(now, 2);
      if (count !== seen) [seen, since] = [count, performance.now()];
      const limit = targets[Atomics.load(now, 0)]!.limitMs;
      if (count > 0 && performance.now() - since > limit) return;
    }
  } catch (error) {
    if (!over.aborted) throw error;
  }
}

/** All that it takes to run it again. */
function failureText(failed: Case, error: string): string {
  const target = targets[failed.target]!;
  const input = Buffer.from(caseInput(target, failed), 'latin1').toString('base64');
  const where = `${target.name}, seed ${failed.seed}, case ${failed.index}`;
  return `${where}: ${error}\nnpm run fuzz -- --target '${target.name}' --input ${input}`;
}
