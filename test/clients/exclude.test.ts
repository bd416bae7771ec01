/**
 * A system beside what its installer already has: only the rest is made, and the two together are what
 * every Nix installs the system from.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { granary } from '../granary.ts';
import { debianCorpus, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, installs, nix, whyNoClients } from './nix.ts';

const skip = await whyNoClients();

const narInfosOf = (cache: string): readonly string[] =>
  readdirSync(cache)
    .filter(name => name.endsWith('.narinfo'))
    .sort();

test('a system minus what another cache has: the union verifies, the rest says what closes it, every Nix installs from both', {
  skip,
}, async () => {
  const corpus = await debianCorpus('system', ['systemd', 'openssh-server', 'git']);
  const [base, rest] = [join(scratch(), 'base'), join(scratch(), 'rest')];
  const [systemd, ...others] = corpus.roots;
  const makeInto = (to: string, ...args: readonly string[]) =>
    granary(['make', '--from', corpus.url, '--to', to, '--no-flush', ...args]);
  const first = await makeInto(base, systemd!);
  assert.equal(first.code, 0, first.stderr);

  const made = await makeInto(rest, '--exclude', base, ...others);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /left out/);
  const [there, here] = [narInfosOf(base), narInfosOf(rest)];
  assert.ok(there.length > 20 && here.length > 5, `${there.length} and ${here.length} paths`);
  assert.deepEqual(
    [...there, ...here].sort(),
    corpus.paths.map(path => `${path.slice(11, 43)}.narinfo`),
  ); // no path twice

  const live = join(scratch(), 'live');
  const also = await makeInto(live, '--exclude', systemd!, ...others);
  assert.equal(also.code, 0, also.stderr);
  assert.deepEqual(
    narInfosOf(live),
    here,
    'a closure of the store is left out as a cache of it is',
  );
  assert.deepEqual(JSON.parse(readFileSync(join(live, 'granary/closed-by.json'), 'utf8')), [
    systemd,
  ]);

  const alone = await granary(['verify', rest]);
  assert.equal(alone.code, 1, 'alone it is not closed');
  assert.ok(alone.stdout.includes(`granary/closed-by.json names ${base}`), alone.stdout);
  assert.deepEqual(JSON.parse(readFileSync(join(rest, 'granary/closed-by.json'), 'utf8')), [base]);
  const union = await granary(['verify', '--with', base, rest]);
  assert.equal(union.code, 0, union.stdout);

  const git = others.at(-1)!;
  for (const age of ages) {
    const { store } = await installs(await nix(age), {
      cache: `file://${rest}`,
      path: git,
      options: ['--option', 'substituters', `file://${rest} file://${base}`],
    });
    const run = await runInstalled(store, `${git}/usr/bin/git`, ['--version']);
    assert.match(run.stdout, /^git version \d/, `${age}: ${run.stderr}`);
    assert.ok(existsSync(store.real(git)));
  }
});
