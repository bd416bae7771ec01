/** What `granary copy` shows: plans, what came of them, and what is in the way. */
import { errorTable, type GranaryError, gravest } from '../errors.ts';
import type { Conflict } from '../flow/conflict.ts';
import type { CopySummary } from '../flow/copy.ts';
import type { CopyPlan } from '../flow/copy-plan.ts';
import type { Unwanted } from '../flow/filter.ts';
import type { ImportSummary } from '../flow/import.ts';
import type { ImportPlan } from '../flow/import-plan.ts';
import type { Packing } from '../flow/repack.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import type { Store } from '../store/store.ts';
import type { Face } from './face.ts';
import { showUnwanted, unwantedText } from './filter.ts';
import { bytesText, counted, secondsText } from './units.ts';

/** What plans of both kinds have in common. */
interface Moving {
  readonly moves: readonly {
    readonly size: number;
    readonly info: PathInfo;
    readonly again?: string;
  }[];
  readonly present: ReadonlySet<StorePath>;
  readonly excluded: ReadonlySet<StorePath>;
  readonly conflicts: readonly Conflict[];
  readonly narBytes: number;
  readonly fileBytes: number;
  readonly unwanted?: readonly Unwanted[];
  readonly broken: Failed;
  readonly held: readonly StorePath[];
  readonly isOfRoots?: boolean;
  readonly beside?: CopyPlan['beside'];
}

const copying = (plan: CopyPlan): Moving => ({
  ...plan,
  moves: plan.moves.map(move => ({ ...move, size: move.info.file.fileSize ?? 0 })),
});

const importing = (plan: ImportPlan): Moving => ({
  ...plan,
  moves: plan.moves.map(info => ({ info, size: info.narSize })),
});

/** What a dry run of a copy into a cache tells. */
export function showCopyPlan(plan: CopyPlan, target: Storage, face: Face): number {
  showMoves(copying(plan), face);
  showUnwanted(plan.unwanted, face, true);
  showFailed(plan.broken, face);
  showConflicts(plan.conflicts, target, face);
  const what = `${counted(plan.moves.length, 'path')} (${bytesText(plan.fileBytes)})`;
  return showDry(copying(plan), `Would copy ${what} into ${target.url}`, face);
}

/** What a dry run of a copy into a store tells. */
export function showImportPlan(plan: ImportPlan, target: Store, face: Face): number {
  showMoves(importing(plan), face);
  showFailed(plan.broken, face);
  showConflicts(plan.conflicts, target, face);
  const files = plan.fileBytes === 0 ? '' : `, from ${bytesText(plan.fileBytes)} of files`;
  const what = `${counted(plan.moves.length, 'path')} (${bytesText(plan.narBytes)}${files})`;
  return showDry(importing(plan), `Would copy ${what} into ${target.url}`, face);
}

function showMoves({ moves, present, excluded }: Moving, face: Face): void {
  for (const path of present) face.show({ type: 'path', path, state: 'present' });
  for (const path of excluded) face.show({ type: 'path', path, state: 'excluded' });
  for (const { info, size, again } of moves) {
    const { path, narSize } = info;
    const why = again === undefined ? '' : `  (again: ${again})`;
    face.show(
      {
        type: 'path',
        path,
        state: again === undefined ? 'missing' : 'again',
        narSize,
        ...(again === undefined ? {} : { again }),
      },
      `${bytesText(size).padStart(8)}  ${path}${why}`,
    );
  }
}

function showDry(plan: Moving, would: string, face: Face): number {
  const { moves, present, excluded, conflicts, unwanted, broken, held, narBytes, fileBytes } = plan;
  const { isOfRoots = false, beside = [] } = plan;
  const unseen =
    beside.length === 0 ? '' : ' (logs, listings and the like that they lack were not looked for)';
  const exit = exitOf(broken, conflicts.length > 0);
  const left = phrases([
    [broken.size, 'narinfo', ' cannot be used'],
    ...leftBehind({ excluded, failed: new Map(), held }),
  ]);
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      dryRun: true,
      missing: moves.length,
      present: present.size,
      excluded: excluded.size,
      ...(unwanted ? { unwanted: unwanted.length } : {}),
      broken: [...broken.keys()],
      held,
      conflicts: conflicts.map(({ path }) => path),
      narBytes,
      fileBytes,
    },
    `${would}; ${counted(present.size, 'path')} already there${unseen}${left}${unwantedText({ unwanted: unwanted ?? [], isOfRoots })}.`,
  );
  return exit;
}

/** The plan, before it is carried out. */
export function showCopyStart(
  { moves, present, narBytes, fileBytes }: CopyPlan | ImportPlan,
  face: Face,
): void {
  face.show({
    type: 'plan',
    paths: moves.length + present.size,
    present: present.size,
    missing: moves.length,
    narBytes,
    fileBytes,
  });
}

/** Of what was left as it was; a store cannot be told to take another. */
export function showConflicts(
  conflicts: readonly Conflict[],
  target: Storage | Store,
  face: Face,
): void {
  const advice =
    'storeDir' in target ? 'it keeps its own' : '--prefer source takes that of the source';
  for (const { path, other, sourceHash, targetHash } of conflicts) {
    const why =
      path === other
        ? `the source has it with NarHash ${sourceHash}, ${target.url} with ${targetHash}`
        : `${target.url} has ${other} in its place`;
    const message = `Cannot copy ${path}: ${why}; ${advice}`;
    face.show({ type: 'error', code: 'conflict', message, facts: { path } });
  }
}

interface Ending {
  readonly source: { readonly url: string };
  readonly ms: number;
  readonly isSigned: boolean;
  readonly face: Face;
}

const whatWasThere = 'What was there keeps the signatures that it has';

/** What came of a copy into a cache. */
export function showCopySummary(
  plan: CopyPlan,
  { moved, unread, narBytes, fileBytes, united, sideFiles, failed, held }: CopySummary,
  {
    source,
    target,
    ms,
    isSigned,
    packing,
    face,
  }: Ending & {
    readonly target: Storage;
    readonly packing: Packing | undefined;
  },
): number {
  showFailed(plan.broken, face);
  showFailed(failed, face);
  showConflicts(plan.conflicts, target, face);
  const { present, excluded, conflicts, unwanted, broken } = plan;
  const exit = exitOf(new Map([...broken, ...failed]), conflicts.length > 0);
  const what =
    moved === 0
      ? sideFiles === 0
        ? 'nothing new'
        : 'no new path'
      : `${counted(moved, 'path')} copied${packing ? ' and packed anew' : ''}, ${bytesText(fileBytes)}`;
  const rest = phrases([
    [united, 'path', ' got signatures'],
    [sideFiles, 'log or other file', ' came along'],
    [broken.size, 'narinfo', ' cannot be used'],
    ...leftBehind({ excluded, failed, held }),
  ]);
  const afterwards = [
    ...(unread > 0
      ? [
          `${counted(unread, 'file')} ${unread === 1 ? 'was' : 'were'} not read; "granary verify" proves what is there.`,
        ]
      : []),
    ...(isSigned && present.size > 0 ? [`${whatWasThere}; "granary sign" signs it too.`] : []),
  ];
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
      unread,
      sideFiles,
      broken: [...broken.keys()],
      failed: [...failed.keys()],
      held,
      conflicts: conflicts.map(({ path }) => path),
      narBytes,
      fileBytes,
      seconds: ms / 1000,
    },
    `${target.url}: ${what}, ${counted(present.size, 'path')} already there${rest}${unwantedText(plan)}; ${secondsText(ms)}.${afterwards.map(each => ` ${each}`).join('')}`,
  );
  return exit;
}

/** What came of a copy into a store, and how to keep it there. */
export function showImportSummary(
  { present, excluded, conflicts, roots, broken }: ImportPlan,
  { added, narBytes, failed, held }: ImportSummary,
  { source, target, ms, isSigned, face }: Ending & { readonly target: Store },
): number {
  showFailed(broken, face);
  showFailed(failed, face);
  showConflicts(conflicts, target, face);
  const exit = exitOf(new Map([...broken, ...failed]), conflicts.length > 0);
  const what =
    added === 0 ? 'nothing new' : `${counted(added, 'path')} copied, ${bytesText(narBytes)}`;
  const rest = phrases([
    [broken.size, 'narinfo', ' cannot be used'],
    ...leftBehind({ excluded, failed, held }),
  ]);
  const unsigned = isSigned && present.size > 0 ? ` ${whatWasThere}.` : '';
  const root = added > 0 && exit === 0 ? roots[0] : undefined;
  const keep =
    root === undefined
      ? ''
      : `\nNothing keeps it from a garbage collection yet; "nix-store --realise ${root} --add-root ./result" does.`;
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      source: source.url,
      store: target.url,
      copied: added,
      present: present.size,
      excluded: excluded.size,
      broken: [...broken.keys()],
      failed: [...failed.keys()],
      held,
      conflicts: conflicts.map(({ path }) => path),
      narBytes,
      seconds: ms / 1000,
    },
    `${target.url}: ${what}, ${counted(present.size, 'path')} already there${rest}; ${secondsText(ms)}.${unsigned}${keep}`,
  );
  return exit;
}

/** By path, or by the key of a narinfo. */
type Failed = ReadonlyMap<string, GranaryError>;

function showFailed(failed: Failed, face: Face): void {
  for (const { code, message, facts } of failed.values())
    face.show({ type: 'error', code, message, facts });
}

function exitOf(failed: Failed, isConflict: boolean): number {
  const codes = [...failed.values()].map(error => error.code);
  const code = gravest(isConflict ? [...codes, 'conflict'] : codes);
  return code === undefined ? 0 : errorTable[code].exit;
}

type Phrase = readonly [count: number, noun: string, after: string];

const leftBehind = (left: {
  readonly excluded: ReadonlySet<StorePath>;
  readonly failed: Failed;
  readonly held: readonly StorePath[];
}): readonly Phrase[] => [
  [left.excluded.size, 'path', ' left out'],
  [left.failed.size, 'path', ' failed'],
  [left.held.length, 'path', ' held back, since it refers to such'],
];

const phrases = (all: readonly Phrase[]): string =>
  all
    .filter(([count]) => count > 0)
    .map(([count, noun, after]) => `, ${counted(count, noun)}${after}`)
    .join('');
