/**
 * Mirrors the closures of 1,000 roots of an upstream that has a million paths: the first copy is killed in the middle,
 * the next completes it, a third finds nothing to do. Compares the mirror with its upstream. Prints time and memory.
 *
 * What the killed copy leaves are NAR files; paths become visible in batches, the first after half a minute.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { granary } from '../../bench/peers.ts';
import { scratch } from '../clients/kept.ts';
import { ended, startGranary } from '../granary.ts';
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

  const step = async (what: string, args: readonly string[]): Promise<void> => {
    const before = upstream.asked;
    const { seconds, cpuSeconds, peakMiB } = await granary(args);
    print(
      `${what.padEnd(8)}${seconds.toFixed(2).padStart(8)} s${cpuSeconds.toFixed(2).padStart(8)} CPU s${peakMiB.toFixed(0).padStart(5)} MiB${String(upstream.asked - before).padStart(8)} requests`,
    );
    assert.ok(peakMiB > 0 && peakMiB < limitMiB, `${what}: a peak of ${peakMiB.toFixed(0)} MiB`);
  };
  const copy = ['copy', '--quiet', '--no-flush', ...from];
  await step('plan', ['copy', '--quiet', '--dry-run', ...from]);

  const before = upstream.asked;
  // Each path is asked for its narinfo, and then for its NAR.
  await killedAt(upstream.askedFor(before + Math.floor(closure.size * 1.5)), copy);
  const asked = upstream.asked - before;
  const nars = narsIn(to).length;
  print(
    `broken  ${narInfosIn(to).length} of ${closure.size} paths there, ${nars} NAR files${String(asked).padStart(8)} requests`,
  );
  assert.ok(nars > 0 && narInfosIn(to).length < closure.size);

  await step('copy', copy);
  await step('again', copy);
  await step('diff', ['diff', '--quiet', '--roots', list, upstream.url, to]);
  await step('verify', ['verify', '--quiet', '--strict', to]);

  const names = narInfosIn(to);
  assert.equal(names.length, closure.size);
  assert.equal(narsIn(to).length, closure.size, 'the killed copy left nothing beside');
  for (const name of names.slice(0, 100))
    assert.match(readFileSync(join(to, name), 'latin1'), /^StorePath: \/nix\/store\//);
};

/** Runs `granary` from its sources, and kills it then. */
async function killedAt(moment: Promise<void>, args: readonly string[]): Promise<void> {
  const child = startGranary(args);
  const end = ended(child);
  await Promise.race([moment, end]);
  child.kill('SIGKILL');
  const { code, stderr } = await end;
  assert.equal(code, null, `it ended before it could be killed: ${stderr}`);
}

const narInfosIn = (cache: string): readonly string[] =>
  readdirSync(cache).filter(name => name.endsWith('.narinfo'));

/** Half-written ones too. */
const narsIn = (cache: string): readonly string[] =>
  readdirSync(join(cache, 'nar')).filter(name => name.includes('.nar'));
