/**
 * The thread in which the fuzzer's cases run, round by round, so that one that hangs can be seen and
 * ended. Before each case it writes down which one it is.
 */
import { inspect } from 'node:util';
import { parentPort, workerData } from 'node:worker_threads';
import { GranaryError } from '../../src/errors.ts';
import type { Task, Words } from './fuzzer.ts';
import { type Case, caseInput } from './target.ts';
import { targets } from './targets.ts';

const { seed, until, now } = workerData as Task;
const say = (words: Words): void => parentPort!.postMessage(words);
const tallies = targets.map(({ name }) => ({ name, cases: 0, accepted: 0, ms: 0 }));

async function failureOf(where: Case): Promise<string | undefined> {
  const target = targets[where.target]!;
  const tally = tallies[where.target]!;
  Atomics.store(now, 0, where.target);
  Atomics.store(now, 1, where.index);
  Atomics.add(now, 2, 1);
  tally.cases += 1;
  const input = caseInput(target, where);
  try {
    if (await target.accepts(input)) tally.accepted += 1;
    return undefined;
  } catch (error) {
    return error instanceof GranaryError ? undefined : inspect(error);
  }
}

async function round(number: number): Promise<boolean> {
  for (const [target, { perRound }] of targets.entries()) {
    const start = performance.now();
    for (let index = number * perRound; index < (number + 1) * perRound; index++) {
      const where = { seed, target, index };
      const error = await failureOf(where);
      if (error === undefined) continue;
      say({ failed: where, error });
      return false;
    }
    tallies[target]!.ms += performance.now() - start;
  }
  return true;
}

const isOver = (number: number): boolean =>
  'rounds' in until ? number >= until.rounds : Date.now() >= until.time;

for (let number = 0; !isOver(number) && (await round(number)); number++);
say({ tallies });
