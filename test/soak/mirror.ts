/**
 * Mirrors the closures of 1,000 roots of an upstream that has a million paths: twice, with a break in the first, and
 * compares the mirror with its upstream. Prints time and memory.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { granary } from '../../bench/peers.ts';
import { scratch } from '../clients/kept.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';
import { openUpstream } from './upstream.ts';

const limitMiB = 200;

/** `count` is how many paths there are upstream; one in a thousand is a root. */
export const mirror: Soak = async ({ seed, count, print }) => {
  await using upstream = await openUpstream({ seed, count });
  const folder = scratch();
  const random = seeded(seed);
  const roots = Array.from({ length: Math.ceil(count / 1000) }, () => Math.floor(random() * count));
  const closure = new Set(roots);
  for (const at of closure) for (const each of [at >> 1, Math.floor(at / 3)]) closure.add(each);
  const list = join(folder, 'roots');
  writeFileSync(list, roots.map(at => `${upstream.path(at)}\n`).join(''));
  const to = join(folder, 'mirror');
  const from = ['--from', upstream.url, '--to', to, '--roots', list];
  print(`${count} paths upstream, ${roots.length} roots, closures of ${closure.size} paths`);

  const steps: readonly (readonly [
    what: string,
    args: readonly string[],
    exits: readonly number[],
  ])[] = [
    ['plan', ['copy', '--quiet', '--dry-run', ...from], [0]],
    ['copy', ['copy', '--quiet', '--no-flush', ...from], [0]],
    ['again', ['copy', '--quiet', '--no-flush', ...from], [0]],
    ['diff', ['diff', '--quiet', '--roots', list, upstream.url, to], [0]],
    ['verify', ['verify', '--quiet', '--strict', to], [0]],
  ];
  for (const [what, args, exits] of steps) {
    const before = upstream.asked;
    const { seconds, cpuSeconds, peakMiB } = await granary(args, exits);
    print(
      `${what.padEnd(8)}${seconds.toFixed(2).padStart(8)} s${cpuSeconds.toFixed(2).padStart(8)} CPU s${peakMiB.toFixed(0).padStart(5)} MiB${String(upstream.asked - before).padStart(8)} requests`,
    );
    assert.ok(peakMiB > 0 && peakMiB < limitMiB, `${what}: a peak of ${peakMiB.toFixed(0)} MiB`);
  }
  const names = readdirSync(to).filter(name => name.endsWith('.narinfo'));
  assert.equal(names.length, closure.size);
  for (const name of names.slice(0, 100))
    assert.match(readFileSync(join(to, name), 'latin1'), /^StorePath: \/nix\/store\//);
};
