/** `granary repair`: heals a cache from a store or other caches. */
import { availableParallelism } from 'node:os';
import { errorTable, GranaryError, gravest } from '../../errors.ts';
import { executeRepair, type RepairSummary } from '../../flow/repair.ts';
import { planRepair, type RepairPlan, type RepairSource } from '../../flow/repair-plan.ts';
import { hashPart } from '../../format/store-path.ts';
import type { Storage } from '../../storage/storage.ts';
import { openStore } from '../../store/open.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead, refuseReadOnly } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import { kindOf } from '../ends.ts';
import type { Face } from '../face.ts';
import { namedRoots } from '../root-list.ts';
import { showFinding } from '../show-finding.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { counted, secondsText } from '../units.ts';

export const repair: Command = {
  usage: 'granary repair [--from STORE|CACHE]... [OPTION]... CACHE [ROOT]...',
  about: `Verifies a cache, or the closures of the ROOTs, and heals what is damaged: packs it anew from a Nix store, or takes it from another
cache, whichever comes first in the order of --from. A cache that is whole is not touched.`,
  options: {
    from: {
      value: 'SOURCE',
      help: 'a store (auto, local, local?root=DIR, daemon, unix:///path/to/socket,\nssh://host) or a cache.\nRepeatable, asked in this order',
    },
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
    drop: { help: 'remove what nobody can heal, with all that refers to it' },
    'dry-run': { help: 'print what is damaged and where it can come from, and write nothing' },
    jobs: { value: 'N', help: `threads (default: the cores, here ${availableParallelism()})` },
  },
  notes: `Without --from only the frame is mended: nix-cache-info, and folders that a read-only mount needs.
What cannot be listed (HTTP) takes ROOTs, and has to take PUT; what would have to be removed there is told, and stays.
Exit status 5 tells that something is still damaged; with --dry-run, 1 that there is something to do.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  growHeapSlowly();
  const [name, ...words] = args.words;
  if (name === undefined)
    throw new GranaryError(
      'usage',
      'Cannot repair nothing: name the CACHE, as in "granary repair --from auto ./cache"',
    );
  const roots = namedRoots(args, words);
  if (roots && args.has('drop'))
    throw new GranaryError(
      'usage',
      'Cannot --drop from some closures: what refers to it may lie outside them; leave out the ROOTs',
    );
  const storage = await openCacheToRead(name);
  const sources: RepairSource[] = [];
  for (const from of args.all('from')) sources.push(await sourceOf(from));
  const options = {
    jobs: args.number('jobs', 1, 1024) ?? availableParallelism(),
    drop: args.has('drop'),
    report: ({ progress }: { progress: Parameters<Face['progress']>[0] }) =>
      face.progress(progress),
  };
  const dryRun = args.has('dry-run');
  if (!dryRun) refuseReadOnly('repair', storage, roots);
  const plan = await planRepair(storage, sources, {
    ...options,
    ...(roots === undefined ? {} : { roots }),
  });
  face.done();
  for (const found of plan.findings) if (found.severity === 'damage') showFinding(found, face);
  const isWhole = showPlan(plan, storage, face);
  if (dryRun) {
    const exit = isWhole ? 0 : 1;
    face.show({ type: 'summary', ok: isWhole, exit, dryRun, cache: storage.url });
    return exit;
  }
  const repaired = await executeRepair(plan, storage, options);
  face.done();
  const told = { ms: Date.now() - start, drop: options.drop, ofRoots: roots !== undefined };
  return showSummary(plan, repaired, storage, told, face);
}

const sourceOf = async (from: string): Promise<RepairSource> =>
  kindOf(from) === 'cache' ? { cache: await openCacheToRead(from) } : { store: openStore(from) };

/** Tells the plan, and whether there is nothing to do. */
function showPlan(plan: RepairPlan, storage: Storage, face: Face): boolean {
  for (const { code, message, facts } of plan.refused)
    face.show({ type: 'error', code, message, facts });
  for (const [path, [offer]] of plan.heal) {
    const from = 'store' in offer! ? offer.store.url : offer!.cache.url;
    face.show({ type: 'path', path, state: 'heal', from }, `To heal: ${path}, from ${from}`);
  }
  for (const hash of plan.lost)
    face.show({ type: 'path', hash, state: 'lost' }, `Nobody has: ${lostName(hash, plan)}`);
  for (const { key, message } of plan.others)
    face.show({ type: 'path', key, state: 'other' }, `For you to mend: ${message}.`);
  const { cacheInfo, folders } = plan.frame;
  const remove = plan.remove.length + plan.husks.size;
  const counts = {
    heal: plan.heal.size,
    lost: plan.lost.length,
    others: plan.others.length,
    frame: folders.length + (cacheInfo === undefined ? 0 : 1),
    remove,
  };
  const isWhole = Object.values(counts).every(count => count === 0);
  face.show(
    { type: 'plan', ...counts },
    isWhole ? `${storage.url} is whole: nothing to do.` : undefined,
  );
  return isWhole;
}

const lostName = (hash: string, plan: RepairPlan): string =>
  [...plan.infos.keys()].find(path => hashPart(path) === hash) ?? `the path with the hash ${hash}`;

interface Told {
  readonly ms: number;
  readonly drop: boolean;
  /** Whether only some closures were looked at: nothing can be dropped of them. */
  readonly ofRoots: boolean;
}

function showSummary(
  { others }: RepairPlan,
  { healed, removed, lost, failed }: RepairSummary,
  storage: Storage,
  { ms, drop, ofRoots }: Told,
  face: Face,
): number {
  for (const { code, message, facts } of failed.values())
    face.show({ type: 'error', code, message, facts });
  const gone = new Set(removed);
  const left = others.filter(({ key }) => !gone.has(key));
  const damaged = lost.length + left.length;
  const code = gravest([...failed.values()].map(error => error.code)) ?? 'corrupt';
  const exit = damaged > 0 ? errorTable[code].exit : 0;
  const hint = drop
    ? '; what could not be read is not dropped: try again, or remove it yourself'
    : `; add another --from${ofRoots ? '' : ', or remove them with --drop'}`;
  const counts = { healed, removed, lost, others: left.map(({ key }) => key) };
  face.show(
    { type: 'summary', ok: exit === 0, exit, cache: storage.url, ...counts },
    `${storage.url}: ${counted(healed.length, 'path')} healed, ${counted(removed.length, 'file')} removed, ` +
      `${damaged} still damaged${lost.length > 0 ? hint : ''}; ${secondsText(ms)}`,
  );
  return exit;
}
