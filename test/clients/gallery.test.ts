/**
 * The damage gallery before real Nix: what `nix store verify` says of each, what heals it, and that the
 * newest Nix then installs everything. docs/damage.md is the table of it: `UPDATE=1 npm test` writes it anew.
 */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { each } from '../../src/flow/each.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair, type RepairSource } from '../../src/flow/repair-plan.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { type Damage, gallery, Patient } from '../flow/damage.ts';
import { findingsIn } from '../flow/found.ts';
import { type Healthy, makeHealthy } from '../flow/healthy.ts';
import { repository } from '../granary.ts';
import { scratch } from './kept.ts';
import { freshStore, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());
const document = join(repository, 'docs/damage.md');

test('docs/damage.md tells what each damage is, what heals it, and what Nix says of it', {
  skip,
}, async () => {
  const healthy = await makeHealthy(scratch());
  const rows = new Map<string, string>();
  await each(Object.entries(gallery), 3, async ([what, damage]) => {
    rows.set(what, await rowOf(what, damage, healthy));
  });
  const text = `${head}${Object.keys(gallery)
    .map(what => rows.get(what))
    .join('\n')}\n`;
  if (process.env.UPDATE) writeFileSync(document, text);
  assert.equal(readFileSync(document, 'utf8'), text);
});

const head = `# What can be wrong with a cache

Made by test/clients/gallery.test.ts, which does each damage to a whole cache of five paths, heals it, and has the newest
Nix install all of them from what was healed. *Byte for byte* means: from a second cache, all files are then as before.
*By a person*, or by \`granary gc\`, is healed what \`granary repair\` leaves as it is.
The last column is the newest \`nix store verify --all --no-trust\`, which sees the cache on a read-only mount.

| damage | \`granary verify\` | from a store | from a second cache | \`nix store verify\` |
|---|---|---|---|---|
`;

async function rowOf(what: string, damage: Damage, healthy: Healthy): Promise<string> {
  const damaged = (): string => {
    const dir = join(scratch(), 'cache');
    cpSync(healthy.cache, dir, { recursive: true });
    damage.do(new Patient(healthy, dir));
    return dir;
  };
  const found = new Set(
    (await findingsIn(damaged())).map(({ id, severity }) =>
      severity === 'warning' ? `${id} (warning)` : id,
    ),
  );
  const stores: RepairSource[] = [{ store: healthy.store }, { store: healthy.added }];
  const second: RepairSource[] = [{ cache: directoryStorage(healthy.cache) }];
  const cells = [
    what,
    [...found].sort().join(', '),
    await healedFrom(stores, damaged(), damage, healthy),
    await healedFrom(second, damaged(), damage, healthy),
    await nixSays(damaged()),
  ];
  return `| ${cells.join(' | ')} |`;
}

async function healedFrom(
  sources: readonly RepairSource[],
  cache: string,
  damage: Damage,
  healthy: Healthy,
): Promise<string> {
  if (!damage.heals) return 'by a person';
  const storage = directoryStorage(cache);
  const options = { jobs: 1, drop: false, report: () => {} };
  await executeRepair(await planRepair(storage, sources, options), storage, options);
  const left = (await findingsIn(cache)).filter(({ severity }) => severity === 'damage');
  assert.deepEqual(left, []);
  const [path, ...others] = Object.values(healthy.paths);
  await installs(await nix('newest'), { cache: `file://${cache}`, path: path!, options: others });
  return damage.heals === 'same' && 'cache' in sources[0]! ? 'byte for byte' : 'whole';
}

/** What the newest Nix finds, in a word: it has a line for each path that it minds, or dies at one. */
async function nixSays(cache: string): Promise<string> {
  const newest = await nix('newest');
  const args = ['store', 'verify', '--store', `file://${cache}`, '--all', '--no-trust'];
  const limit = ['timeout', '--kill-after=1', '5']; // a named pipe has no end
  const { code, stderr } = await newest.run('nix', args, {
    store: freshStore(),
    under: limit,
    readOnly: [cache],
  });
  if (code === 124) return 'hangs';
  if (code === 0) return 'nothing';
  return /was modified!/.test(stderr) ? 'finds it' : 'fails';
}
