/** What the kills are for: commands over caches of a small closure, with what is there before and after. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { contentOf } from '../cache/proof.ts';
import type { Corpus } from '../clients/corpus.ts';
import { findingsIn } from '../flow/found.ts';
import { granary } from '../granary.ts';

/** A command, what it starts from, and what it makes of that. */
export interface Victim {
  readonly name: string;
  readonly command: (cache: string) => readonly string[];
  /** The folder that is copied for each run, if it does not start from nothing. */
  readonly start?: string;
  /** What is wrong with that, as `troublesIn` tells it. */
  readonly troubles: ReadonlySet<string>;
  readonly before: Content;
  readonly after: Content;
}

/** Sums of files by name. */
export type Content = Readonly<Record<string, string>>;

/** A library with a dozen paths below it, of which some take several blocks. */
export const smallRoot = ({ paths }: Corpus): string => pathLike(paths, '-libgssapi-krb5-2-');

const pathLike = (paths: readonly string[], part: string): string =>
  paths.find(path => path.includes(part))!;

/** `make`, `sign`, and `repair` from either kind of source. */
export async function victimsOf(corpus: Corpus, folder: string): Promise<readonly Victim[]> {
  const whole = join(folder, 'whole');
  const from = ['--from', corpus.url];
  const make = (cache: string) => [
    ...['make', '--to', cache, ...from],
    ...['--jobs', '2', '--listings', smallRoot(corpus)],
  ];
  await succeeds(make(whole));

  const key = join(folder, 'key');
  await succeeds(['key', 'generate', 'kills-1', '--out', key]);
  const sign = (cache: string) => ['sign', '--sign', key, cache];
  const signed = copied(whole, join(folder, 'signed'));
  await succeeds(sign(signed));

  const damaged = copied(whole, join(folder, 'damaged'));
  damage(damaged, corpus.paths);
  const repair =
    (...source: string[]) =>
    (cache: string) => ['repair', ...source, cache];

  const was = (start: string, end: string) => ({
    start,
    before: contentOf(start),
    after: contentOf(end),
  });
  const healthy = new Set<string>();
  const ill = new Set(await troublesIn(damaged));
  assert.ok(ill.size >= 8, `some damage is not found: ${[...ill]}`);
  return [
    { name: 'make', command: make, before: {}, after: contentOf(whole), troubles: healthy },
    { name: 'sign', command: sign, ...was(whole, signed), troubles: healthy },
    {
      name: 'repair from a cache',
      command: repair('--from', whole),
      ...was(damaged, whole),
      troubles: ill,
    },
    {
      name: 'repair from a store',
      command: repair(...from),
      ...was(damaged, whole),
      troubles: ill,
    },
  ];
}

/** Two NAR files, two narinfos, a listing and a folder are broken, and a narinfo lies where it should not. */
function damage(cache: string, paths: readonly string[]): void {
  const narInfo = (part: string, suffix = 'narinfo'): string =>
    join(
      cache,
      `${pathLike(paths, part)
        .slice(defaultStoreDir.length + 1)
        .slice(0, 32)}.${suffix}`,
    );
  const nar = (part: string): string =>
    join(cache, parseNarInfo(readFileSync(narInfo(part), 'latin1'), defaultStoreDir).file.url);
  rmSync(nar('-libssl3'));
  const bytes = readFileSync(nar('-libzstd1-'));
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(nar('-libzstd1-'), bytes);
  cpSync(narInfo('-zlib1g-'), join(cache, `${'0'.repeat(32)}.narinfo`));
  writeFileSync(narInfo('-libkrb5-3-'), '');
  rmSync(narInfo('-libkeyutils1-'));
  writeFileSync(narInfo('-libcom-err2-', 'ls'), '{');
  rmSync(join(cache, 'log'), { recursive: true });
}

/** The parts of a run, in their order, and what each makes or changes. */
const parts = {
  frame: /^nix-cache-info$|\/KEEP$/,
  NARs: /^nar\/.*\.nar/,
  narinfos: /^[^/]+\.(narinfo|ls)$/,
} as const;

/** The files of each part of a victim's run; last, those that go. */
function groupsOf({ before, after }: Victim): readonly (readonly [string, readonly string[]])[] {
  const changed = differences(before, after);
  const made = changed.filter(key => after[key] !== undefined);
  return [
    ...Object.entries(parts).map(
      ([part, pattern]) => [part, made.filter(key => pattern.test(key))] as const,
    ),
    ['removals', changed.filter(key => after[key] === undefined)],
  ];
}

/** How far a run came: to the first part that is not all there. */
export function phaseOf(victim: Victim, content: Content): string {
  for (const [part, keys] of groupsOf(victim)) {
    const done = keys.filter(key => content[key] === victim.after[key]).length;
    if (done < keys.length) return `${done === 0 ? 'before' : 'among'} the ${part}`;
  }
  return 'after the last';
}

/** All that `phaseOf` can say of it. */
export const phasesOf = (victim: Victim): readonly string[] => [
  ...groupsOf(victim).flatMap(([part, { length }]) =>
    [`before the ${part}`, `among the ${part}`].slice(0, length),
  ),
  'after the last',
];

/** Names of files that are not alike, or only on one side. */
export const differences = (a: Content, b: Content): string[] =>
  Object.keys({ ...a, ...b }).filter(key => a[key] !== b[key]);

const sweepable = new Set(['temporary', 'nar-orphan', 'listing-orphan']);

/** What `verify` finds in a cache, but for what the next run sweeps or an interrupted one may leave. */
export async function troublesIn(cache: string): Promise<string[]> {
  const found = await findingsIn(cache);
  return found
    .filter(({ id }) => !sweepable.has(id))
    .map(({ id, key, path }) => `${id.replace(/^folder-.*/, 'folder')} ${key} ${path ?? ''}`);
}

/** The same files, where nobody writes to them yet. */
function copied(from: string, to: string): string {
  assert.ok(!existsSync(to));
  cpSync(from, to, { recursive: true });
  return to;
}

async function succeeds(args: readonly string[]): Promise<void> {
  const { code, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
}
