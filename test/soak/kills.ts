/**
 * `make`, `sign` and `repair` are killed at every kind of moment: before the k-th thing that they ask of the
 * file system, or in the middle of it. After each, nothing is wrong with the cache but left-overs that
 * the next run sweeps, real Nix installs all that has a narinfo, and the same command again ends as if
 * nothing had happened.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verify } from '../../src/flow/verify.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { isTemporaryKey } from '../../src/storage/storage.ts';
import { contentOf, temporariesIn } from '../cache/proof.ts';
import { type Corpus, gitCorpus } from '../clients/corpus.ts';
import { scratch } from '../clients/kept.ts';
import { installs, nix } from '../clients/nix.ts';
import { ended, granary, type Ran, startGranary } from '../granary.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';

/** A command, what it starts from, and what it makes of that. */
interface Victim {
  readonly name: string;
  /** Copied before each run; nothing: the command makes the folder. */
  readonly before?: string;
  readonly command: (cache: string) => readonly string[];
  readonly expected: Content;
  /** How far a killed run came. */
  readonly phaseOf: (cache: string) => string;
}

/** Real Nix installs after each so many kills, and always where a run got half-way. */
const installEvery = 25;

export const kills: Soak = async ({ seed, count, print }) => {
  const corpus = await gitCorpus();
  const victims = await victimsOf(corpus, scratch());
  const random = seeded(seed);
  for (const [at, victim] of victims.entries()) {
    const share = Math.floor(count / victims.length) + (at < count % victims.length ? 1 : 0);
    await killAll(victim, share, random, print);
  }
};

async function killAll(
  victim: Victim,
  count: number,
  random: () => number,
  print: (line: string) => void,
): Promise<void> {
  const { name, expected, command, phaseOf } = victim;
  const events = await countedRun(victim);
  const phases: Record<string, number> = {};
  let [temporaries, installed, missed] = [0, 0, 0];
  for (let round = 0; round < count; round++) {
    const at = 1 + Math.floor(((round + random()) / count) * events); // evenly over the whole run
    const half = random() < 0.5;
    const cache = startOf(victim);
    const { code, stderr } = await run(command(cache), {
      KILL_AT: String(at),
      ...(half ? { KILL_HALF: '1' } : {}),
    });
    const what = `${name}, killed at event ${at} of ${events}${half ? ', in its middle' : ''}`;
    if (code === 0)
      missed += 1; // threads take turns otherwise: this run had fewer events
    else assert.equal(code, null, `${what}: ${stderr}`);
    const phase = phaseOf(cache);
    phases[phase] = (phases[phase] ?? 0) + 1;
    temporaries += existsSync(cache) ? temporariesIn(cache).length : 0;
    await assertSound(victim, cache, what);
    if (round % installEvery === 0 || phase.startsWith('between'))
      installed += await assertInstallable(victim, cache);
    const again = await granary(command(cache));
    assert.equal(again.code, 0, `${what}, run again: ${again.stderr}`);
    assert.deepEqual(differences(contentOf(cache), expected), [], `${what}, run again`);
    rmSync(cache, { recursive: true });
  }
  print(
    `${name}: ${count} kills over ${events} events: ${JSON.stringify(phases)}; ${missed} ended before; ${temporaries} temporaries left, and swept; ${installed} paths installed`,
  );
}

const run = (args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> =>
  ended(startGranary(args, ['--import', new URL('./kill-at.ts', import.meta.url).href], env));

/** How many events an undisturbed run has. */
async function countedRun(victim: Victim): Promise<number> {
  const cache = startOf(victim);
  const file = join(scratch(), 'count');
  const { code, stderr } = await run(victim.command(cache), { KILL_COUNT: file });
  assert.equal(code, 0, stderr);
  assert.deepEqual(contentOf(cache), victim.expected);
  const events = Number(readFileSync(file, 'latin1'));
  assert.ok(events > 10, 'nothing was counted');
  return events;
}

function startOf({ before }: Victim): string {
  const cache = join(scratch(), 'cache');
  if (before !== undefined) cpSync(before, cache, { recursive: true });
  return cache;
}

const sweepable = new Set(['temporary', 'nar-orphan', 'listing-orphan']);

/** Nothing is wrong but what was wrong before the run, and left-overs. */
async function assertSound({ before }: Victim, cache: string, what: string): Promise<void> {
  const names = existsSync(cache) ? readdirSync(cache) : [];
  if (!names.some(name => name === 'nix-cache-info' || name.endsWith('.narinfo'))) return; // no cache yet
  const known = new Set(before === undefined ? [] : await findingsIn(before));
  const found = (await findingsIn(cache)).filter(each => !known.has(each));
  assert.deepEqual(found, [], what);
}

async function findingsIn(cache: string): Promise<string[]> {
  const found: string[] = [];
  await verify(directoryStorage(cache), {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    jobs: 1,
    report: event => {
      if ('severity' in event && !sweepable.has(event.id))
        found.push(`${event.id.replace(/^folder-.*/, 'folder')} ${event.key} ${event.path ?? ''}`);
    },
  });
  return found;
}

/** The newest Nix installs every path that has a narinfo, but for what was broken before. */
async function assertInstallable({ name }: Victim, cache: string): Promise<number> {
  if (name === 'repair' || !existsSync(cache)) return 0;
  const paths = narInfosIn(cache).map(text => parseNarInfo(text, defaultStoreDir).path);
  const [first, ...others] = paths;
  if (first === undefined) return 0;
  await installs(await nix('newest'), { cache: `file://${cache}`, path: first, options: others });
  return paths.length;
}

const narInfosIn = (cache: string): string[] =>
  existsSync(cache)
    ? readdirSync(cache)
        .filter(name => name.endsWith('.narinfo'))
        .map(name => readFileSync(join(cache, name), 'latin1'))
    : [];

/** A cache of a small closure to make, to sign, and to repair. */
async function victimsOf(corpus: Corpus, folder: string): Promise<readonly Victim[]> {
  const root = smallRoot(corpus);
  const make = (cache: string) => [
    'make',
    '--to',
    cache,
    '--from',
    corpus.url,
    '--jobs',
    '2',
    '--listings',
    root,
  ];
  const whole = join(folder, 'whole');
  await succeeds(make(whole));
  const total = narInfosIn(whole).length;

  const key = join(folder, 'key');
  await succeeds(['key', 'generate', 'kills-1', '--out', key]);
  const sign = (cache: string) => ['sign', '--sign', key, cache];
  const signed = join(folder, 'signed');
  cpSync(whole, signed, { recursive: true });
  await succeeds(sign(signed));

  const damaged = join(folder, 'damaged');
  cpSync(whole, damaged, { recursive: true });
  damage(damaged);
  const repair = (cache: string) => ['repair', '--from', whole, cache];
  const wrong = differences(contentOf(damaged), contentOf(whole)).length;
  const inPhase = (done: number, all: number, of: string): string =>
    done === 0 ? `before the first ${of}` : done < all ? `between ${of}s` : `after the last ${of}`;
  return [
    {
      name: 'make',
      command: make,
      expected: contentOf(whole),
      phaseOf: cache => inPhase(narInfosIn(cache).length, total, 'narinfo'),
    },
    {
      name: 'sign',
      before: whole,
      command: sign,
      expected: contentOf(signed),
      phaseOf: cache =>
        inPhase(
          narInfosIn(cache).filter(text => text.includes('\nSig: kills-1:')).length,
          total,
          'signature',
        ),
    },
    {
      name: 'repair',
      before: damaged,
      command: repair,
      expected: contentOf(whole),
      phaseOf: cache =>
        inPhase(
          wrong -
            differences(contentOf(cache), contentOf(whole)).filter(each => !isTemporaryKey(each))
              .length,
          wrong,
          'repair',
        ),
    },
  ];
}

/** A library with a dozen paths below it, of which some take several blocks. */
export const smallRoot = ({ paths }: Corpus): string =>
  paths.find(path => path.includes('-libgssapi-krb5-2-'))!;

type Content = Readonly<Record<string, string>>;

/** Names of files that are not alike, or only on one side. */
const differences = (a: Content, b: Content): string[] =>
  Object.keys({ ...a, ...b }).filter(key => a[key] !== b[key]);

async function succeeds(args: readonly string[]): Promise<void> {
  const { code, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
}

/** One file of each kind is broken: a folder, a narinfo, a NAR, a listing; each is one finding. */
function damage(cache: string): void {
  rmSync(join(cache, 'log'), { recursive: true });
  const keys = readdirSync(cache)
    .filter(name => name.endsWith('.narinfo'))
    .sort();
  const urlOf = (key: string): string =>
    /^URL: (.*)$/m.exec(readFileSync(join(cache, key), 'latin1'))![1]!;
  rmSync(join(cache, urlOf(keys[0]!)));
  writeFileSync(join(cache, keys[1]!), '');
  writeFileSync(join(cache, keys[2]!.replace('.narinfo', '.ls')), '{');
}
