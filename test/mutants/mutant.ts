/**
 * Inputs made from their grammar: whole ones, changed in one or two places, so that about half of them
 * are still good. Random bytes would only ever test the first line of a parser.
 */

/** What was changed, and what came of it, as latin-1. */
export interface Mutant {
  readonly what: string;
  readonly bytes: string;
}

/** One way to change something; it may leave it as it is where it does not fit. */
export interface Change<T> {
  readonly what: string;
  readonly to: (whole: T) => T;
}

/** A number from 0 to 1, without 1. */
export type Random = () => number;

export const below = (random: Random, end: number): number => Math.floor(random() * end);

export const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)]!;

/** One to `most` of a list, by chance. */
export const some = <T>(random: Random, list: readonly T[], most: number): T[] =>
  Array.from({ length: 1 + below(random, most) }, () => pick(random, list));

/** Changes, one after the other. */
export function changed<T>(
  whole: T,
  changes: readonly Change<T>[],
  print: (it: T) => string,
): Mutant {
  const what = changes.map(change => change.what).join(', then ');
  return { what, bytes: print(changes.reduce((before, { to }) => to(before), whole)) };
}

/** What a line of output can show of some bytes. */
export const shown = (bytes: string, limit = 60): string => {
  const text = JSON.stringify(bytes);
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${bytes.length})`;
};
