/** `granary repair`: heals a cache from a store or other caches. */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { statedStoreDir } from '../../cache/cache.ts';
import { errorTable, GranaryError, gravest } from '../../errors.ts';
import { executeRepair, type RepairSummary } from '../../flow/repair.ts';
import { planRepair, type RepairPlan, type RepairSource } from '../../flow/repair-plan.ts';
import { defaultStoreDir, parseStoreDir } from '../../format/store-path.ts';
import type { Storage } from '../../storage/storage.ts';
import { openStore } from '../../store/open.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { showFinding } from '../show-finding.ts';
import { counted, secondsText } from '../units.ts';

export const repair: Command = {
  usage: 'granary repair [--from STORE|CACHE]... [OPTION]... CACHE',
  about: `Verifies a cache and heals what is damaged: packs it anew from a Nix store, or takes it from another
cache, whichever comes first in the order of --from. A cache that is whole is not touched.`,
  options: {
    from: {
      value: 'SOURCE',
      help: 'auto, local, local?root=DIR, or a cache. Repeatable, asked in this order',
    },
    drop: { help: 'remove what nobody can heal, with all that refers to it' },
    'dry-run': { help: 'print what is damaged and where it can come from, and write nothing' },
    jobs: { value: 'N', help: `threads (default: the cores, here ${availableParallelism()})` },
  },
  notes: `Without --from only the frame is mended: nix-cache-info, and folders that a read-only mount needs.
Exit status 5 tells that something is still damaged.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  const [name, ...more] = args.words;
  if (name === undefined || more.length > 0)
    throw new GranaryError(
      'usage',
      'Cannot repair that: name one CACHE, as in "granary repair --from auto ./cache"',
    );
  const storage = await openCacheToRead(name);
  const sources: RepairSource[] = [];
  for (const from of args.all('from')) sources.push(await sourceOf(from));
  const storeDir = parseStoreDir((await statedStoreDir(storage)) ?? defaultStoreDir);
  const options = {
    storeDir,
    jobs: args.number('jobs', 1, 1024) ?? availableParallelism(),
    drop: args.has('drop'),
    report: ({ progress }: { progress: Parameters<Face['progress']>[0] }) =>
      face.progress(progress),
  };
  const plan = await planRepair(storage, sources, options);
  face.done();
  for (const found of plan.findings) if (found.severity === 'damage') showFinding(found, face);
  showPlan(plan, storage, face);
  if (args.has('dry-run')) {
    face.show({ type: 'summary', ok: true, exit: 0, dryRun: true, cache: storage.url });
    return 0;
  }
  const repaired = await executeRepair(plan, storage, options);
  face.done();
  return showSummary(repaired, storage, Date.now() - start, face);
}

/** A folder is a cache; what Nix calls a store is a store. */
async function sourceOf(from: string): Promise<RepairSource> {
  const isFolder = from.includes('://') || statSync(from, { throwIfNoEntry: false })?.isDirectory();
  if (isFolder && from !== 'auto' && from !== 'local')
    return { cache: await openCacheToRead(from) };
  return { store: openStore(from) };
}

function showPlan(plan: RepairPlan, storage: Storage, face: Face): void {
  for (const [path, [offer]] of plan.heal) {
    const from = 'store' in offer! ? offer.store.url : offer!.cache.url;
    face.show({ type: 'path', path, state: 'heal', from }, `To heal: ${path}, from ${from}`);
  }
  for (const hash of plan.lost)
    face.show({ type: 'path', hash, state: 'lost' }, `Nobody has: ${lostName(hash, plan)}`);
  const event = {
    heal: plan.heal.size,
    lost: plan.lost.length,
    frame: plan.frame,
    remove: plan.remove,
  };
  const whole = plan.heal.size + plan.lost.length + plan.remove.length === 0 && !plan.frame;
  face.show(
    { type: 'plan', ...event },
    whole ? `${storage.url} is whole: nothing to do.` : undefined,
  );
}

const lostName = (hash: string, plan: RepairPlan): string =>
  [...plan.infos.values()].find(({ path }) => path.includes(`/${hash}-`))?.path ??
  `the path with the hash ${hash}`;

function showSummary(repaired: RepairSummary, storage: Storage, ms: number, face: Face): number {
  const { healed, removed, lost, failed } = repaired;
  for (const { code, message, facts } of failed.values())
    face.show({ type: 'error', code, message, facts });
  const code = gravest([...failed.values()].map(error => error.code)) ?? 'corrupt';
  const exit = lost.length > 0 ? errorTable[code].exit : 0;
  const hint = lost.length > 0 ? '; add another --from, or remove them with --drop' : '';
  face.show(
    { type: 'summary', ok: exit === 0, exit, cache: storage.url, healed, removed, lost },
    `${storage.url}: ${counted(healed.length, 'path')} healed, ${counted(removed.length, 'file')} removed, ` +
      `${lost.length} still damaged${hint}; ${secondsText(ms)}`,
  );
  return exit;
}
