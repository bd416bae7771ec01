/** Mutants of JSON: a value somewhere inside is another, is gone, or is there twice. */
import { below, pick, type Random } from './mutant.ts';

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

const strange: readonly Json[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1.5,
    2 ** 53,
    -0,
    1e300,
    '',
    'x',
    '..',
    'a/b',
    '\0',
    '\xff',
    '\u{1f600}',
  ],
  ...[[], {}, [[]], [null], { '': 0 }, { length: 5 }, { version: 1 }],
  'x'.repeat(5000),
  Array.from({ length: 200 }, () => 0),
  nested(100),
];

/** One or two values are changed, or none. */
export function jsonMutant(random: Random, whole: Json): Json {
  let mutant = whole;
  for (let times = below(random, 3); times > 0; times--) mutant = changedIn(random, mutant);
  return mutant;
}

function changedIn(random: Random, value: Json): Json {
  const stop = random() < 0.2;
  if (!stop && Array.isArray(value) && value.length > 0) {
    const at = below(random, value.length);
    const dice = random();
    if (dice < 0.15) return value.toSpliced(at, 1);
    if (dice < 0.3) return [...value, value[at]];
    return value.with(at, changedIn(random, value[at]));
  }
  if (!stop && typeof value === 'object' && value !== null && Object.keys(value).length > 0) {
    const members = Object.entries(value);
    const at = below(random, members.length);
    const [name, member] = members[at]!;
    const dice = random();
    if (dice < 0.15) return Object.fromEntries(members.toSpliced(at, 1));
    if (dice < 0.25) return { ...value, [`${pick(random, ['x', '', '__proto__', name])}`]: member };
    return Object.fromEntries(members.with(at, [name, changedIn(random, member)]));
  }
  return pick(random, strange);
}

function nested(depth: number): Json {
  return depth === 0 ? [] : { type: 'directory', entries: { d: nested(depth - 1) } };
}
