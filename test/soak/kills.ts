/**
 * `make`, `sign` and `repair` are killed at every kind of moment: before the k-th thing that they ask of the
 * file system, or in the middle of it. After each, every file is as it was before or as it will be,
 * nothing is wrong with the cache but left-overs that the next run sweeps, real Nix installs all that
 * has a narinfo, and the same command again ends as if nothing had happened.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir, type StorePath } from '../../src/format/store-path.ts';
import { isTemporaryKey } from '../../src/storage/storage.ts';
import { contentOf } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { remove, scratch } from '../clients/kept.ts';
import { installs, nix } from '../clients/nix.ts';
import { ended, granary, type Ran, startGranary } from '../granary.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';
import {
  type Content,
  differences,
  phaseOf,
  phasesOf,
  troublesIn,
  type Victim,
  victimsOf,
} from './victims.ts';

/** Real Nix installs after each so many kills, and always where some narinfos are new and some are not. */
const installEvery = 25;

export const kills: Soak = async ({ seed, count, print }) => {
  const folder = scratch();
  const random = seeded(seed);
  const [make, ...others] = await victimsOf(await gitCorpus(), folder);
  const share = Math.floor(count / (others.length + 2));
  await killAll(make!, count - share * others.length, { folder, random, print });
  for (const victim of others) await killAll(victim, share, { folder, random, print });
};

interface Ground {
  /** Where caches may be made. */
  readonly folder: string;
  readonly random: () => number;
  readonly print: (line: string) => void;
}

async function killAll(victim: Victim, count: number, ground: Ground): Promise<void> {
  const { name, after, command } = victim;
  const { folder, random, print } = ground;
  const cache = join(folder, 'cache');
  const events = await countedRun(victim, folder);
  const phases: Record<string, number> = Object.fromEntries(
    phasesOf(victim).map(each => [each, 0]),
  );
  const moments: Record<string, number> = {};
  let [temporaries, installed] = [0, 0];
  for (let round = 0; round < count; round++) {
    const at = 1 + Math.floor(((round + random()) / count) * events); // evenly over the whole run
    const half = random() < 0.5;
    const { code, stderr, note } = await run(victim, folder, {
      KILL_AT: String(at),
      ...(half ? { KILL_HALF: '1' } : {}),
    });
    const what = `${name}, killed at event ${at} of ${events}, ${note}`;
    const moment = code === 0 ? 'none: it ended before' : note; // threads take turns otherwise
    if (code !== 0) assert.equal(code, null, `${what}: ${stderr}`);
    moments[moment] = (moments[moment] ?? 0) + 1;

    const content = contentIn(cache);
    const phase = phaseOf(victim, content);
    phases[phase]! += 1;
    temporaries += Object.keys(content).filter(isTemporaryKey).length;
    assertNothingBetween(victim, content, what);
    const troubles = await troublesAfter(cache);
    assert.deepEqual(
      troubles.filter(each => !victim.troubles.has(each)),
      [],
      what,
    );
    if (round % installEvery === 0 || phase === 'among the narinfos')
      installed += await installAll(cache, troubles);

    const again = await granary(command(cache));
    assert.equal(again.code, 0, `${what}, run again: ${again.stderr}`);
    assert.deepEqual(differences(contentOf(cache), after), [], `${what}, run again`);
    remove(cache);
  }
  print(
    `${name}: ${count} kills over ${events} events: ${told(phases)}; at ${told(moments)}; ${temporaries} temporaries left, and swept; ${installed} paths installed`,
  );
  if (count >= events) assert.ok(!Object.values(phases).includes(0), 'a phase saw no kill');
}

const told = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([what, count]) => `${what} ${count}`)
    .join(', ');

/** Runs the command on a cache as it was before; `note` is what `kill-at.ts` noted. */
async function run(
  { start, command }: Victim,
  folder: string,
  env: Readonly<Record<string, string>>,
): Promise<Ran & { readonly note: string }> {
  const cache = join(folder, 'cache');
  const note = join(folder, 'note');
  if (start !== undefined) cpSync(start, cache, { recursive: true });
  const counting = ['--import', new URL('./kill-at.ts', import.meta.url).href];
  const ran = await ended(startGranary(command(cache), counting, { ...env, KILL_NOTE: note }));
  return { ...ran, note: readFileSync(note, 'latin1') };
}

/** How many events an undisturbed run has. */
async function countedRun(victim: Victim, folder: string): Promise<number> {
  const { code, stderr, note } = await run(victim, folder, {});
  assert.equal(code, 0, stderr);
  const cache = join(folder, 'cache');
  assert.deepEqual(differences(contentOf(cache), victim.after), []);
  remove(cache);
  assert.ok(Number(note) > 10, 'nothing was counted');
  return Number(note);
}

const contentIn = (cache: string): Content => (existsSync(cache) ? contentOf(cache) : {});

/** Each file is the old one or the new one. */
function assertNothingBetween({ before, after }: Victim, content: Content, what: string): void {
  const between = Object.keys({ ...before, ...after, ...content }).filter(
    key => !isTemporaryKey(key) && content[key] !== before[key] && content[key] !== after[key],
  );
  assert.deepEqual(between, [], what);
}

/** Before its first file that says so, nothing is a cache, and `verify` refuses it. */
async function troublesAfter(cache: string): Promise<readonly string[]> {
  const names = existsSync(cache) ? readdirSync(cache) : [];
  const isCache = names.some(name => name === 'nix-cache-info' || name.endsWith('.narinfo'));
  return isCache ? troublesIn(cache) : [];
}

/** The newest Nix installs every path that has a narinfo, but for what was broken before, and its referrers. */
async function installAll(cache: string, troubles: readonly string[]): Promise<number> {
  const infos = (existsSync(cache) ? readdirSync(cache) : [])
    .filter(name => name.endsWith('.narinfo') && !troubles.some(each => each.includes(name)))
    .map(name => parseNarInfo(readFileSync(join(cache, name), 'latin1'), defaultStoreDir));
  const sound = new Set<StorePath>(infos.map(({ path }) => path));
  for (const path of [...sound]) if (troubles.some(each => each.includes(path))) sound.delete(path);
  for (let size = -1; size !== sound.size; ) {
    size = sound.size;
    for (const { path, references } of infos)
      if (!references.every(each => sound.has(each))) sound.delete(path);
  }
  const [first, ...others] = sound;
  if (first === undefined || troubles.some(each => each.startsWith('folder'))) return 0;
  const { store } = await installs(await nix('newest'), {
    cache: `file://${cache}`,
    path: first,
    options: others,
  });
  remove(store.dir);
  return sound.size;
}
