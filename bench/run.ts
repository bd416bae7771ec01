/**
 * `npm run bench [NAME...] [-- --pairs N]`: prepares what is packed, runs us and the peers in turn, and
 * prints medians and ratios. README.md tells how to read them.
 */
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ages, nix, whyNoClients } from '../test/clients/nix.ts';
import { execute } from '../test/clients/process.ts';
import { type Case, cases, type Peer } from './cases.ts';
import { type Cost, median } from './measure.ts';
import { plot } from './plot.ts';
import { profile } from './profile.ts';
import { dropTarget, newTarget } from './target.ts';

interface Row {
  readonly case: string;
  readonly who: string;
  /** Medians. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly fileBytes: number;
  /** Median of our time divided by this one's, in each round; none for ourselves. */
  readonly ratio?: number;
  readonly goal?: number;
  readonly met?: boolean;
}

interface Sample extends Cost {
  readonly fileBytes: number;
}

/** What is no comparison. */
const others: Readonly<Record<string, () => Promise<void>>> = {
  plot: () => plot(import.meta.dirname),
  profile,
};

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { pairs: { type: 'string', default: '5' } },
    allowPositionals: true,
  });
  const all = [...Object.keys(cases), ...Object.keys(others)];
  const names = positionals.length > 0 ? positionals : all;
  const why = names.some(name => !all.includes(name))
    ? `Name some of: ${all.join(', ')}`
    : await whyNoClients();
  if (why) {
    console.error(why);
    process.exit(2);
  }
  const rows: Row[] = [];
  const rounds = Number(values.pairs);
  await printMachine(rounds);
  for (const name of names) {
    if (others[name]) await others[name]();
    else
      for (const one of await cases[name]!()) {
        const measured = await runCase(one, rounds);
        for (const row of measured) console.log(line(row));
        rows.push(...measured);
      }
  }
  if (rows.length > 0) {
    const file = join(import.meta.dirname, 'results/last.json');
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, `${JSON.stringify(rows, null, 2)}\n`);
    const missed = rows.filter(row => row.met === false);
    console.log(
      `\n${missed.length === 0 ? 'Every goal is met.' : `Missed: ${missed.map(row => `${row.case} against ${row.who}`).join('; ')}.`}`,
    );
  }
}

async function printMachine(rounds: number): Promise<void> {
  const versions = await Promise.all(ages.map(async age => (await nix(age)).version));
  console.log(
    `${availableParallelism()} cores, ${cpus()[0]?.model.trim()}; Node ${process.versions.node}; Nix ${versions.join(', ')}; ${rounds} rounds, medians\n`,
  );
  console.log('| case | who | seconds | CPU s | peak MiB | files MB | ours / theirs | goal |');
  console.log('|---|---|--:|--:|--:|--:|--:|--:|');
}

/** Runs us and every peer once a round, each round beginning with the next; a round before the first warms the file system's cache. */
async function runCase({ name, ours, peers, seconds }: Case, rounds: number): Promise<Row[]> {
  const all: readonly Pick<Peer, 'name' | 'run'>[] = [{ name: 'granary', run: ours }, ...peers];
  const samples: Sample[][] = all.map(() => []);
  for (let round = -1; round < rounds; round++)
    for (const turn of all.keys()) {
      const at = (turn + Math.max(round, 0)) % all.length; // nobody always runs after the same
      const { run } = all[at]!;
      const to = newTarget();
      await execute(['sync'], { env: process.env }); // what the one before wrote is not written at this one's cost
      const cost = await run(to);
      if (round >= 0) samples[at]!.push({ ...cost, fileBytes: bytesBelow(to) });
      dropTarget(to);
      if (round < 0 && at === 0) break;
    }
  const [own, ...others] = samples;
  const ratios = others.map(theirs => own!.map((cost, at) => cost.seconds / theirs[at]!.seconds));
  const mine = rowOf(name, 'granary', own!);
  return [
    { ...mine, ...(seconds === undefined ? {} : { goal: seconds, met: mine.seconds <= seconds }) },
    ...peers.map((peer, at): Row => {
      const row = rowOf(name, peer.name, others[at]!);
      const ratio = median(ratios[at]!);
      if (!peer.goal) return { ...row, ratio };
      const group = peers
        .map((other, index) => ({ other, index }))
        .filter(
          ({ other }) => peer.goal!.best !== undefined && other.goal?.best === peer.goal!.best,
        );
      const against =
        group.length === 0
          ? ratio
          : median(
              ratios[at]!.map((_, round) =>
                Math.max(...group.map(({ index }) => ratios[index]![round]!)),
              ),
            );
      const fits = !peer.sizes || mine.fileBytes <= row.fileBytes * 1.01;
      return { ...row, ratio, goal: peer.goal.ratio, met: against <= peer.goal.ratio && fits };
    }),
  ];
}

const rowOf = (name: string, who: string, samples: readonly Sample[]): Row => ({
  case: name,
  who,
  seconds: median(samples.map(each => each.seconds)),
  cpuSeconds: median(samples.map(each => each.cpuSeconds)),
  peakMiB: median(samples.map(each => each.peakMiB)),
  fileBytes: samples[0]!.fileBytes,
});

function line({
  case: name,
  who,
  seconds,
  cpuSeconds,
  peakMiB,
  fileBytes,
  ratio,
  goal,
  met,
}: Row): string {
  const files = fileBytes === 0 ? '' : (fileBytes / 1e6).toFixed(1);
  const limit =
    goal === undefined
      ? ''
      : `≤ ${goal}${ratio === undefined ? ' s' : ''}${met ? '' : ' **missed**'}`;
  const cells = [
    name,
    who,
    seconds.toFixed(3),
    cpuSeconds.toFixed(2),
    peakMiB.toFixed(0),
    files,
    ratio?.toFixed(3) ?? '',
    limit,
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The NAR files of a cache. */
function bytesBelow(cache: string): number {
  try {
    return readdirSync(join(cache, 'nar')).reduce(
      (sum, name) => sum + statSync(join(cache, 'nar', name)).size,
      0,
    );
  } catch {
    return 0;
  }
}

await main();
