/** What the fuzzer drives: a parser, inputs for it, and what must hold whatever the input is. */
import { GranaryError } from '../../src/errors.ts';
import { bent, noise } from '../mutants/bytes.ts';
import type { Random } from '../mutants/mutant.ts';
import { seeded } from '../random.ts';

export interface Target {
  readonly name: string;
  /** Cases in a round: the slower, the fewer. */
  readonly perRound: number;
  /** What one case may take. */
  readonly limitMs: number;
  /** An input as the grammar has it, or nearly, as latin-1. */
  readonly grammar: (random: Random) => string;
  /** False, or a GranaryError, is a refusal. Any other error is a bug. */
  readonly accepts: (input: string) => boolean | Promise<boolean>;
}

/** What has to hold of an input, accepted or not: here a GranaryError is a bug like any other. */
export function lawfully<T>(law: () => T): T {
  try {
    return law();
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    throw new Error('what was accepted is refused', { cause: error });
  }
}

/** A seed, a target by its place among all, and a number: always the same input. */
export interface Case {
  readonly seed: number;
  readonly target: number;
  readonly index: number;
}

/** Three of five inputs are by the grammar, the others bent or noise. */
export function caseInput({ grammar }: Target, { seed, target, index }: Case): string {
  const random = seeded(Math.imul(seed, 0x9e3779b1) ^ Math.imul(target + 1, 0x85ebca6b) ^ index);
  const dice = random();
  if (dice < 0.6) return grammar(random);
  return dice < 0.9 ? bent(random, grammar(random)) : noise(random);
}
