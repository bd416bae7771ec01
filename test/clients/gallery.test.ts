/**
 * The damage gallery before real Nix: done to a cache of what the newest Nix built; what `nix store verify`
 * says of each, what heals it, and that Nix then installs everything. docs/damage.md is the table of it:
 * `UPDATE=1 npm test` writes it anew. Another Nix than the table's may say other things: that is no failure.
 */
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { each } from '../../src/flow/each.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair, type RepairSource } from '../../src/flow/repair-plan.ts';
import { generateKey } from '../../src/format/key.ts';
import { defaultStoreDir, parseStorePath, type StorePath } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { openStore } from '../../src/store/open.ts';
import { contentOf } from '../cache/proof.ts';
import { type Damage, gallery, Patient } from '../flow/damage.ts';
import { findingsIn } from '../flow/found.ts';
import type { Name } from '../flow/healthy.ts';
import { granary, repository } from '../granary.ts';
import { scratch } from './kept.ts';
import { freshStore, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';

const skip = (await whyNoClients()) || (await whyNoReadOnlyMounts());
const document = join(repository, 'docs/damage.md');

test('docs/damage.md tells what each damage is, what heals it, and what Nix says of it', {
  skip,
}, async t => {
  const { version } = await nix('newest');
  const subject = await makeSubject();
  const rows = new Map<string, string>();
  await each(Object.entries(gallery), 3, async ([what, damage]) => {
    rows.set(what, await rowOf(what, damage, subject));
  });
  const table = Object.keys(gallery).map(what => rows.get(what));
  const text = `${headFor(version)}${table.join('\n')}\n`;
  if (process.env.UPDATE) writeFileSync(document, text);
  const told = readFileSync(document, 'utf8');
  if (told.includes(lastColumn(version))) return assert.equal(told, text);
  t.diagnostic(`${version} is not the table's Nix: its last column is not compared`);
  assert.equal(withoutNix(told), withoutNix(text));
});

const lastColumn = (version: string): string => `\`nix store verify\` of ${version}`;

const headFor = (version: string): string => `# What can be wrong with a cache

Made by test/clients/gallery.test.ts, which does each damage to a whole cache of five paths that Nix built, heals it, and
has Nix install all of them from what was healed. *Byte for byte* means: all files are then as before.
*By a person*, or by \`granary gc\`, is healed what \`granary repair\` leaves as it is.
The last column is \`nix store verify --all --no-trust\`, which sees the cache on a read-only mount: it *finds* the path
whose content is other than stated, *fails at* a path that it cannot read, or *dies* and looks at no more paths.

| damage | \`granary verify\` | from a store | from a second cache | ${lastColumn(version)} |
|---|---|---|---|---|
`;

/** The table without its last column. */
const withoutNix = (text: string): string => text.replace(/ \|[^|]* \|$/gm, ' |');

/** A whole cache, made of a store of real Nix. */
interface Subject {
  readonly cache: string;
  readonly content: ReturnType<typeof contentOf>;
  readonly store: string;
  readonly paths: Readonly<Record<Name, StorePath>>;
}

/** As those of test/flow/healthy.ts are. They end with a word of bash: see test/nix/packages.nix. */
const expression = `
  let
    make = name: script: derivation {
      inherit name; system = builtins.currentSystem; builder = "/bin/bash";
      args = [ "-e" "-c" "PATH=/bin:/usr/bin; mkdir $out; cd $out; \${script}; :" ];
    };
    text = "mkdir share; for i in {1..1000}; do echo text; done > share/text";
  in rec {
    base = make "base" text;
    twin = make "twin" text;
    lib = make "lib" "mkdir lib; for i in {1..500}; do echo code \${base}; done > lib/lib.so; : > lib/other";
    app = make "app" "mkdir bin; printf '#!/bin/sh\\nexec \${lib} %s' $out > bin/app; ln -s app bin/link";
  }`;

async function makeSubject(): Promise<Subject> {
  const folder = scratch();
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const newest = await nix('newest');
  const store = freshStore();
  const build = ['nix-build', file('built.nix', expression), '--no-out-link'];
  const add = ['nix-store', '--add', file('plain', 'plain content')];
  const printed: string[] = [];
  for (const [program, ...args] of [build, add])
    printed.push(await newest.check(program!, args, { store, config: 'sandbox = true' }));
  const roots = printed.join('').trim().split('\n');
  const pathOf = (name: Name): StorePath =>
    parseStorePath(roots.find(root => root.endsWith(`-${name}`)) ?? '', defaultStoreDir);
  const paths = {
    base: pathOf('base'),
    twin: pathOf('twin'),
    lib: pathOf('lib'),
    app: pathOf('app'),
    plain: pathOf('plain'),
  };
  const cache = join(folder, 'cache');
  const key = file('key', generateKey('test-1').secret);
  const options = ['--listings', '--priority', '30', '--sign', key, '--from', store.url];
  const { code, stderr } = await granary(['make', '--to', cache, ...options, ...roots]);
  assert.equal(code, 0, stderr);
  return { cache, content: contentOf(cache), store: store.url, paths };
}

async function rowOf(what: string, damage: Damage, subject: Subject): Promise<string> {
  const damaged = (): string => {
    const dir = join(scratch(), 'cache');
    cpSync(subject.cache, dir, { recursive: true });
    damage.do(new Patient(subject, dir));
    return dir;
  };
  const found = (await findingsIn(damaged())).map(({ id, severity }) =>
    severity === 'warning' ? `${id} (warning)` : id,
  );
  const cells = [
    what,
    [...new Set(found)].sort().join(', '),
    await healedFrom({ store: openStore(subject.store) }, damaged(), subject),
    await healedFrom({ cache: directoryStorage(subject.cache) }, damaged(), subject),
    await nixSays(damaged()),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** Repairs, and installs from what is whole then. NAR files that nothing names any more may stay. */
async function healedFrom(source: RepairSource, cache: string, subject: Subject): Promise<string> {
  const storage = directoryStorage(cache);
  const options = { jobs: 1, drop: false, report: () => {} };
  const plan = await planRepair(storage, [source], options);
  await executeRepair(plan, storage, options);
  const before = new Set(plan.findings.map(({ id, key }) => `${id} ${key}`));
  const left = (await findingsIn(cache)).filter(
    ({ id, key, severity }) => severity === 'damage' || before.has(`${id} ${key}`),
  );
  if (left.length > 0) return 'by a person';
  const [path, ...others] = Object.values(subject.paths);
  await installs(await nix('newest'), { cache: `file://${cache}`, path: path!, options: others });
  return isDeepStrictEqual(contentOf(cache), subject.content) ? 'byte for byte' : 'whole';
}

/** What the newest Nix does about it, in a word. */
async function nixSays(cache: string): Promise<string> {
  const newest = await nix('newest');
  const args = ['store', 'verify', '--store', `file://${cache}`, '--all', '--no-trust'];
  const limit = ['timeout', '--signal=KILL', '10']; // a named pipe has no end, and Nix waits for it
  const { code, stderr } = await newest.run('nix', args, {
    store: freshStore(),
    under: limit,
    readOnly: [cache],
  });
  if (code === 0) return 'nothing';
  if (code === 137) return 'hangs';
  if (/was modified!/.test(stderr)) return 'finds it';
  return code === 4 ? 'fails at it' : 'dies';
}
