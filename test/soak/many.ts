/**
 * What a cache of many narinfos costs to sign and to verify, beside the newest Nix on an equal cache,
 * in turn. Nix does less: its `verify` looks at NAR hashes and signatures alone, and its `sign` neither
 * looks at what it signs nor makes it safe on disk.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Cost, measured, median } from '../../bench/measure.ts';
import { granary } from '../../bench/peers.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import { scratch } from '../clients/kept.ts';
import { freshStore, nix } from '../clients/nix.ts';
import { execute } from '../clients/process.ts';
import { writeManyCaches } from './many-cache.ts';
import type { Soak } from './run.ts';

const limitMiB = 256;

/** Something that we and a peer do, each once a round. */
interface Match {
  readonly ours: readonly [what: string, run: Measured];
  readonly theirs: readonly [what: string, run: Measured];
}
type Measured = (round: number) => Promise<Cost>;

/** `pairs` is how often each runs: three times by default, once where there are very many. */
export const many: Soak = async ({ seed, count, print, pairs = count > 50_000 ? 1 : 3 }) => {
  const folder = scratch();
  const [ours, theirs] = [join(folder, 'ours'), join(folder, 'theirs')];
  const first = newKey(folder, 'first-1');
  const start = Date.now();
  await writeManyCaches([ours, theirs], { seed, count, key: first.key });
  const seconds = ((Date.now() - start) / 1000).toFixed(1);
  const { version, ...run } = await programs();
  print(`two equal caches of ${count} narinfos, seed ${seed}, written in ${seconds} s`);
  print(`Node ${process.versions.node}, Nix ${version}; medians of ${pairs}\n`);

  const added = Array.from({ length: pairs }, (_, round) => newKey(folder, `round-${round}`));
  const check = ['store', 'verify', '--store', `file://${theirs}`, '--all'];
  const sign = ['store', 'sign', '--store', `file://${theirs}`, '--all', '--key-file'];
  const believe = ['--trusted-public-keys', first.text];
  const trust = ['--trusted-key', first.text];
  const matches: readonly Match[] = [
    {
      ours: ['sign', round => granary(['sign', '--sign', added[round]!.file, ours])],
      theirs: ['nix store sign', round => run.nix([...sign, added[round]!.file])],
    },
    {
      ours: ['verify', () => granary(['verify', ...trust, ours])],
      theirs: ['nix store verify', () => run.nix([...check, ...believe])],
    },
    {
      ours: ['verify --quick', () => granary(['verify', '--quick', ...trust, ours])],
      theirs: ['… --no-contents', () => run.nix([...check, ...believe, '--no-contents'])],
    },
    {
      ours: ['… without keys', () => granary(['verify', '--quick', ours])],
      theirs: ['cat of them all', () => run.cat(ours)],
    },
  ];
  print(columns('', 'wall s', 'CPU s', 'peak MiB', 'ratio'));
  const peaks: number[] = [];
  for (const match of matches) peaks.push(await play(match, pairs, print));

  const keys = [first, ...added];
  const needed = ['--sigs-needed', `${keys.length}`];
  const trusted = [...keys.flatMap(({ text }) => ['--trusted-key', text]), ...needed];
  for (const cache of [ours, theirs]) {
    assert.deepEqual(signersIn(cache), { [keys.map(({ name }) => name).join(' ')]: count });
    await granary(['verify', '--strict', ...trusted, cache]);
  }
  const believed = ['--trusted-public-keys', keys.map(({ text }) => text).join(' '), ...needed];
  await run.nix(['store', 'verify', '--store', `file://${ours}`, '--all', ...believed]);
  print('\nevery narinfo of both has all signatures; we and Nix find nothing wrong');
  const peak = Math.max(...peaks);
  assert.ok(peak > 0 && peak < limitMiB, `a peak of ${peak.toFixed(0)} MiB, over ${limitMiB}`);
};

/** Runs both in turn, and prints a line for each; gives our peak in MiB. */
async function play(match: Match, pairs: number, print: (line: string) => void): Promise<number> {
  const ours: Cost[] = [];
  const theirs: Cost[] = [];
  for (let round = 0; round < pairs; round++) {
    ours.push(await settled(match.ours[1], round));
    theirs.push(await settled(match.theirs[1], round));
  }
  const ratio = median(ours.map(({ seconds }, round) => seconds / theirs[round]!.seconds));
  print(line(match.ours[0], ours, ratio.toFixed(2)));
  print(line(`  ${match.theirs[0]}`, theirs, ''));
  return Math.max(...ours.map(({ peakMiB }) => peakMiB));
}

/** Nobody has to flush what another wrote. */
async function settled(run: Measured, round: number): Promise<Cost> {
  await execute(['sync']);
  return run(round);
}

const line = (what: string, costs: readonly Cost[], ratio: string): string =>
  columns(
    what,
    median(costs.map(({ seconds }) => seconds)).toFixed(2),
    median(costs.map(({ cpuSeconds }) => cpuSeconds)).toFixed(2),
    median(costs.map(({ peakMiB }) => peakMiB)).toFixed(0),
    ratio,
  );

const columns = (what: string, ...numbers: readonly string[]): string =>
  what.padEnd(20) + numbers.map(number => number.padStart(10)).join('');

interface NewKey {
  readonly name: string;
  /** The file with the secret one. */
  readonly file: string;
  readonly key: SecretKey;
  /** The public one. */
  readonly text: string;
}

function newKey(folder: string, name: string): NewKey {
  const made = generateKey(name);
  const file = join(folder, name);
  writeFileSync(file, made.secret);
  return { name, file, key: parseSecretKey(made.secret, file), text: made.public };
}

/** The programs that are compared, each failing where it does not succeed. */
async function programs() {
  const newest = await nix('newest');
  const store = freshStore();
  const env = newest.environment(store);
  return {
    version: newest.version,
    nix: (args: readonly string[]) =>
      measured(`nix ${args[1]}`, prefix =>
        execute([...prefix, ...newest.argv('nix', args)], { env, cwd: store.home }),
      ),
    cat: (cache: string) =>
      measured('cat', prefix => execute([...prefix, 'sh', '-c', catAll, cache])),
  };
}

/** Their names together are more than one command line holds: it takes a few processes. */
const catAll = 'cd "$0" && find . -name "*.narinfo" -print0 | xargs -0 cat > /dev/null';

/** How many narinfos have signatures of which names, in their order. */
function signersIn(cache: string): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of readdirSync(cache).filter(each => each.endsWith('.narinfo'))) {
    const text = readFileSync(join(cache, name), 'latin1');
    const signers = [...text.matchAll(/^Sig: ([^:]*):/gm)].map(([, signer]) => signer).join(' ');
    counts[signers] = (counts[signers] ?? 0) + 1;
  }
  return counts;
}
