/** Mutants of nix-cache-info, for the store directory /nix/store. */
import { type Lines, line, lineChanges, printLines, repeated, valued } from './lines.ts';
import { type Change, changed, type Mutant, type Random, some } from './mutant.ts';

const whole: Lines = [
  line('StoreDir', '/nix/store'),
  line('WantMassQuery', '1'),
  line('Priority', '40'),
];

const values: Readonly<Record<string, readonly string[]>> = {
  StoreDir: [
    ...['/nix/store', '', '/', '/nix', '/nix/store/', '/nix//store', '/nix/./store', '/gnu/store'],
    ...['nix/store', '/nix/store\0', '/NIX/store', ' /nix/store ', '\t/nix/store\r', '/nix/store:'],
  ],
  WantMassQuery: [
    ...['0', '1', '', '2', '01', '+1', '1x', 'x1', '1 1', 'true', 'yes', ' 1 ', '\t1\r', '-1'],
  ],
  Priority: [
    ...['0', '1', '-1', '+1', '30', '030', '0x10', '30x', '30 40', '1.5', '1e3', '-0', '', 'x'],
    ...['x30', '-', '+', '--1', '+-1', ' 30 ', '\t30\r', '\x0b30', '\x0c30', '\xa030', '30\xa0'],
    ...['2147483647', '2147483648', '-2147483648', '-2147483649', '9'.repeat(30), '1\0', '\x001'],
    ...['\x1f30', '\xd9\xa3', '30%', '#30', '0'.repeat(40), `${'0'.repeat(40)}7`, '1_000', "1'000"],
  ],
};

const changes: readonly Change<Lines>[] = [
  ...Object.entries(values).flatMap(([field, list]) =>
    list.flatMap(value => [valued(field, value), repeated(field, value)]),
  ),
  ...lineChanges(Object.keys(values)),
];

/** Each change once. */
export const cacheInfoSingles: readonly Mutant[] = changes.map(change =>
  changed(whole, [change], printLines),
);

/** One, two or three changes. */
export const cacheInfoMutant = (random: Random): Mutant =>
  changed(whole, some(random, changes, 3), printLines);
