/** `granary copy`: paths from one cache to another, as they are. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { errorTable, GranaryError, gravest } from '../../errors.ts';
import { type CopySummary, executeCopy } from '../../flow/copy.ts';
import { type CopyPlan, planCopy } from '../../flow/copy-plan.ts';
import type { Packing } from '../../flow/repack.ts';
import { openStorage } from '../../storage/open.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead, refuseReadOnly } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import { exclusionOf } from '../exclusion.ts';
import type { Face } from '../face.ts';
import { filterOf, filterOptions, showUnwanted, unwantedText } from '../filter.ts';
import { readSecretKey } from '../key-files.ts';
import { parsePacking } from '../packing.ts';
import { rootsIn } from '../root-list.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { bytesText, counted, secondsText } from '../units.ts';

export const copy: Command = {
  usage: 'granary copy --from CACHE --to CACHE [OPTION]... [ROOT...]',
  about: `Copies the closures of the ROOTs, or everything, from one cache to another. Compressed files move as they are
(but for --recompress), each checked against the FileHash of its narinfo; the signatures of both sides are kept; logs, listings,
debuginfo and realisations come along. A ROOT is a store path, its base name, or its hash part.`,
  options: {
    from: { value: 'CACHE', help: 'the cache to copy from' },
    to: { value: 'CACHE', help: 'the cache to add to, or a folder to make' },
    roots: { value: 'FILE', help: 'more ROOTs, one a line. Repeatable' },
    sign: {
      value: 'FILE',
      help: 'a secret key to sign what is copied with, once its NAR is proven. Repeatable',
    },
    exclude: {
      value: 'WHAT',
      help: 'leave out what this cache has too, or the closure of this path in the\nstore, or what a file lists. Repeatable',
    },
    ...filterOptions,
    'no-closure': { help: 'copy the ROOTs alone; the target, or --exclude, has to have the rest' },
    prefer: { value: 'source', help: 'take the NAR of the source where the target has another' },
    link: { help: 'share the files on one disk (a hard link); they are not read, so not checked' },
    recompress: {
      value: 'NAME[:LEVEL]',
      help: 'unpack what is copied, prove it, and pack it anew: zstd, xz, gzip, br or\nnone. What the target has stays as it is',
    },
    'dry-run': { help: 'print the plan and write nothing' },
    jobs: { value: 'N', help: `threads (default: the cores, here ${availableParallelism()})` },
    'no-flush': { help: 'do not make it safe against a power cut: for throw-away caches' },
  },
  notes: `Where both caches have a path with different NARs nothing is overwritten, and the exit status is 7.
A copy stays closed: a root that needs what --without or --max-size leave out is left out whole, and so is what only
such roots need; --dry-run lists them, each with what it needs and how big that is. What the target has stays.
--recompress takes memory as "granary make" does, and gives the files that it would.
Run again, it copies only what is missing; a run that was interrupted is completed by the next.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  growHeapSlowly();
  const [from, to] = [args.last('from'), args.last('to')];
  if (from === undefined || to === undefined)
    throw new GranaryError(
      'usage',
      'Cannot copy without both ends: name them, as in "granary copy --from ./result --to ./cache"',
    );
  const source = await openCacheToRead(from);
  const target = openStorage(to, { flush: !args.has('no-flush') });
  if (source.url === target.url)
    throw new GranaryError('usage', `Cannot copy ${source.url} to itself: name another --to`);
  if (existsSync(target.url)) refuseReadOnly('copy into', target);
  const keys = args.all('sign').map(readSecretKey);
  const roots = [...args.words, ...args.all('roots').flatMap(rootsIn)];
  const recompress = await recompressionOf(args);
  const plan = await planCopy(source, target, {
    ...(args.words.length === 0 && !args.has('roots') ? {} : { roots }),
    noClosure: args.has('no-closure'),
    exclude: await exclusionOf(args.all('exclude')),
    prefer: args.word('prefer', ['source']) ?? 'nobody',
    filter: filterOf(args),
  });
  if (args.has('dry-run')) return showPlan(plan, target, face);
  const { moves, present, narBytes, fileBytes } = plan;
  face.show({
    type: 'plan',
    paths: moves.length + present.size,
    present: present.size,
    missing: moves.length,
    narBytes,
    fileBytes,
  });
  showUnwanted(plan.unwanted, face, false);
  const link = args.has('link');
  const copied = await executeCopy(plan, source, target, {
    cacheInfo: {},
    keys,
    link,
    ...(recompress === undefined ? {} : { recompress }),
    closedBy: args.all('exclude'),
    jobs: args.number('jobs', 1, 1024) ?? availableParallelism(),
    report: progress => face.progress(progress),
  });
  face.done();
  return showSummary(plan, copied, {
    source,
    target,
    ms: Date.now() - start,
    link,
    packing: recompress,
    face,
  });
}

async function recompressionOf(args: Arguments): Promise<Packing | undefined> {
  const text = args.last('recompress');
  if (text === undefined) return undefined;
  if (args.has('link'))
    throw new GranaryError(
      'usage',
      'Cannot use --link with --recompress: what is packed anew shares no file',
    );
  return parsePacking('recompress', text);
}

function showPlan(plan: CopyPlan, target: Storage, face: Face): number {
  const { moves, present, excluded, conflicts, unwanted, narBytes, fileBytes } = plan;
  for (const path of present) face.show({ type: 'path', path, state: 'present' });
  for (const path of excluded) face.show({ type: 'path', path, state: 'excluded' });
  for (const { info, again } of moves) {
    const { path, narSize, file } = info;
    const why = again === undefined ? '' : `  (again: ${again})`;
    face.show(
      {
        type: 'path',
        path,
        state: again === undefined ? 'missing' : 'again',
        narSize,
        ...(again === undefined ? {} : { again }),
      },
      `${bytesText(file.fileSize ?? 0).padStart(8)}  ${path}${why}`,
    );
  }
  showUnwanted(unwanted, face, true);
  showConflicts(plan, target, face);
  const left = excluded.size === 0 ? '' : `, ${counted(excluded.size, 'path')} left out`;
  const exit = conflicts.length === 0 ? 0 : errorTable.conflict.exit;
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      dryRun: true,
      missing: moves.length,
      present: present.size,
      excluded: excluded.size,
      unwanted: unwanted.length,
      narBytes,
      fileBytes,
    },
    `Would copy ${counted(moves.length, 'path')} (${bytesText(fileBytes)}) into ${target.url}; ${counted(present.size, 'path')} already there${left}${unwantedText(plan)}.`,
  );
  return exit;
}

function showConflicts({ conflicts }: CopyPlan, target: Storage, face: Face): void {
  for (const { path, sourceHash, targetHash } of conflicts) {
    const message = `Cannot copy ${path}: the source has it with NarHash ${sourceHash}, ${target.url} with ${targetHash}; --prefer source takes that of the source`;
    face.show({ type: 'error', code: 'conflict', message, facts: { path } });
  }
}

interface Ending {
  readonly source: Storage;
  readonly target: Storage;
  readonly ms: number;
  readonly link: boolean;
  readonly packing: Packing | undefined;
  readonly face: Face;
}

function showSummary(
  plan: CopyPlan,
  { moved, narBytes, fileBytes, united, sideFiles, failed, held }: CopySummary,
  { source, target, ms, link, packing, face }: Ending,
): number {
  for (const { code, message, facts } of failed.values())
    face.show({ type: 'error', code, message, facts });
  showConflicts(plan, target, face);
  const { present, excluded, conflicts, unwanted } = plan;
  const codes = [...failed.values()].map(error => error.code);
  const code = gravest([...codes, ...conflicts.map(() => 'conflict' as const)]);
  const exit = code === undefined ? 0 : errorTable[code].exit;
  const what =
    moved === 0
      ? 'nothing new'
      : `${counted(moved, 'path')} copied${packing ? ' and packed anew' : ''}, ${bytesText(fileBytes)}`;
  const more = [
    [united, 'path', ' got signatures'],
    [sideFiles, 'log or other file', ' came along'],
    [excluded.size, 'path', ' left out'],
    [failed.size, 'path', ' failed'],
    [held.length, 'path', ' held back, since it refers to such'],
  ] as const;
  const rest = more
    .filter(([count]) => count > 0)
    .map(([count, noun, after]) => `, ${counted(count, noun)}${after}`);
  const unread = link && moved > 0 ? ' The files were not read: "granary verify" proves them.' : '';
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      source: source.url,
      cache: target.url,
      copied: moved,
      present: present.size,
      excluded: excluded.size,
      unwanted: unwanted.length,
      united,
      sideFiles,
      failed: [...failed.keys()],
      held,
      conflicts: conflicts.map(({ path }) => path),
      narBytes,
      fileBytes,
      seconds: ms / 1000,
    },
    `${target.url}: ${what}, ${counted(present.size, 'path')} already there${rest.join('')}${unwantedText(plan)}; ${secondsText(ms)}.${unread}`,
  );
  return exit;
}
