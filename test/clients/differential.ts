/**
 * Our parsers beside the newest real Nix, on the same mutants: what one refuses the other refuses, and
 * what both read is the same in every field. `differences` is the table of all exceptions, each with
 * its reason; what no row of it explains fails the test, and so does a row that a whole run never met.
 */
import assert from 'node:assert/strict';
import { below, type Mutant, type Random, shown } from '../mutants/mutant.ts';
import { seeded } from '../random.ts';
import type { Soak } from '../soak/run.ts';
import { cacheInfoSubject } from './differential-cache-info.ts';
import { narSubject } from './differential-nar.ts';
import { narInfoSubject } from './differential-narinfo.ts';
import { type Nix, nix } from './nix.ts';

/** What a reader made of a mutant: values of fields, or why it refused. */
export type Verdict =
  | { readonly fields: Readonly<Record<string, string>> }
  | { readonly refused: string };

/** A kind of file: its mutants, and the two readers. */
export interface Subject {
  readonly name: string;
  /** Of all mutants, so many of a hundred. */
  readonly share: number;
  /** Always there, whatever the seed. */
  readonly cases: readonly Mutant[];
  /** Every change alone. */
  readonly singles: readonly Mutant[];
  /** Several changes at once. */
  readonly mutant: (random: Random) => Mutant;
  ours(bytes: string): Verdict;
  /** Nix's verdict of each, in their order. */
  theirs(newest: Nix, mutants: readonly Mutant[]): Promise<Verdict[]>;
}

interface Difference {
  readonly subject: string;
  readonly who: 'Nix alone reads' | 'we alone read' | 'both read, otherwise';
  /** What the one that refused said, or which values differ. */
  readonly says: RegExp;
  /** The version of Nix from which on there is no such difference. */
  readonly until?: string;
  readonly why: string;
}

const differences: readonly Difference[] = [
  {
    subject: 'narinfo',
    who: 'Nix alone reads',
    says: /as a compression: Nix knows/,
    until: '2.35',
    why: 'up to 2.34 Nix looks at the compression only when it decompresses, and fails there',
  },
  {
    subject: 'narinfo',
    who: 'Nix alone reads',
    says: /"\+?0*\d{16,20}" is no size/,
    why: 'a number of ours ends at 2^53-1, and no file is as large',
  },
  {
    subject: 'narinfo',
    who: 'Nix alone reads',
    says: /there is no dash behind its hash part/,
    why: 'Nix does not look at the byte between hash and name: no path that it makes lacks the dash',
  },
];

const subjects: readonly Subject[] = [narInfoSubject, cacheInfoSubject, narSubject];

/** `count` mutants, half of them narinfos. */
export const differential: Soak = async ({ seed, count, print }) => {
  const newest = await nix('newest');
  const random = seeded(seed);
  const met = new Map(differences.map(row => [row, 0]));
  const wrong: string[] = [];
  for (const subject of subjects) {
    const { name, singles } = subject;
    const mutants = mutantsOf(subject, Math.round((count * subject.share) / 100), random);
    const { line, percent, found } = await outcomeOf(subject, newest, [...mutants.values()]);
    print(`${name}: ${line}`);
    if (percent < 30) wrong.push(`Nix reads too few mutants of ${name}: they prove little`);
    const rows = differences.filter(
      ({ subject, until }) => subject === name && isBefore(newest.version, until),
    );
    for (const { what, who, says } of found) {
      const row = rows.find(row => row.who === who && row.says.test(says));
      if (row) met.set(row, met.get(row)! + 1);
      else wrong.push(`unexplained: ${name}, ${what}: ${who}: ${says}`);
    }
    if (singles.every(({ bytes }) => mutants.has(bytes)))
      for (const row of rows)
        if (met.get(row) === 0) wrong.push(`no ${name} differs by ${row.says}: the row has to go`);
  }
  for (const [{ subject, who, why }, times] of met)
    print(`difference: ${times} × ${subject}: ${who}: ${why}`);
  assert.equal(wrong.length, 0, wrong.slice(0, 20).join('\n'));
};

interface Found {
  readonly who: Difference['who'];
  readonly says: string;
}

interface Outcome {
  readonly line: string;
  /** Of the mutants, so many are read by Nix. */
  readonly percent: number;
  /** Where the two readers differ. */
  readonly found: readonly (Found & Mutant)[];
}

async function outcomeOf(
  subject: Subject,
  newest: Nix,
  mutants: readonly Mutant[],
): Promise<Outcome> {
  const start = Date.now();
  const theirs = await subject.theirs(newest, mutants);
  const tally = { read: 0, alike: 0, refused: 0 };
  const found: (Found & Mutant)[] = [];
  for (const [at, mutant] of mutants.entries()) {
    const [our, their] = [subject.ours(mutant.bytes), theirs[at]!];
    if ('fields' in their) tally.read += 1;
    const verdict = compared(our, their);
    if (typeof verdict === 'object') found.push({ ...verdict, ...mutant });
    else tally[verdict] += 1;
  }
  const percent = Math.round((100 * tally.read) / mutants.length);
  const seconds = ((Date.now() - start) / 1000).toFixed(0);
  const line =
    `${mutants.length} mutants in ${seconds} s, Nix ${newest.version} reads ${tally.read} ` +
    `(${percent} %); both read alike ${tally.alike}, both refuse ${tally.refused}, ` +
    `different ${found.length}`;
  return { line, percent, found };
}

/** The cases, then as many singles as make a third of `count`, then others; none twice. */
function mutantsOf(subject: Subject, count: number, random: Random): Map<string, Mutant> {
  const mutants = new Map<string, Mutant>();
  const add = (mutant: Mutant): unknown =>
    mutants.has(mutant.bytes) || mutants.set(mutant.bytes, mutant);
  subject.cases.forEach(add);
  const singles = [...subject.singles];
  for (let taken = 0; taken < count / 3 && singles.length > 0; taken++)
    add(singles.splice(below(random, singles.length), 1)[0]!);
  for (let tries = 0; mutants.size < count && tries < 4 * count; tries++)
    add(subject.mutant(random));
  return mutants;
}

function compared(our: Verdict, their: Verdict): 'alike' | 'refused' | Found {
  if ('refused' in our && 'refused' in their) return 'refused';
  if ('refused' in our) return { who: 'Nix alone reads', says: our.refused };
  if ('refused' in their) return { who: 'we alone read', says: their.refused };
  const names = Object.keys({ ...our.fields, ...their.fields });
  const differing = names.filter(name => our.fields[name] !== their.fields[name]);
  if (differing.length === 0) return 'alike';
  const pair = (name: string): string =>
    `${name} ${shown(our.fields[name] ?? '')} is ${shown(their.fields[name] ?? '')} for Nix`;
  return { who: 'both read, otherwise', says: differing.map(pair).join(', ') };
}

const byNumbers = new Intl.Collator('en', { numeric: true });

const isBefore = (version: string, until: string | undefined): boolean =>
  until === undefined || byNumbers.compare(version, until) < 0;
