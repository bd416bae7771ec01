/** What `granary make` shows: its plan, its events, and how to use what it made. */
import { pathToFileURL } from 'node:url';
import { errorTable, gravest } from '../errors.ts';
import type { MadeSummary, MakeEvent } from '../flow/make.ts';
import type { LogWish } from '../flow/make-sides.ts';
import type { MakePlan } from '../flow/plan.ts';
import type { SecretKey } from '../format/key.ts';
import type { Storage } from '../storage/storage.ts';
import type { Face } from './face.ts';
import { showConflicts } from './show-copy.ts';
import { bytesText, counted, countText, secondsText } from './units.ts';

const planEvent = (plan: MakePlan) => ({
  type: 'plan' as const,
  paths: plan.packs.length + plan.present.size,
  present: plan.present.size,
  excluded: plan.excluded.size,
  missing: plan.packs.filter(pack => pack.again === undefined).length,
  again: plan.packs.filter(pack => pack.again !== undefined).length,
  narBytes: plan.narBytes,
  ...(plan.freeBytes === undefined ? {} : { freeBytes: plan.freeBytes }),
});

export function showPlan(plan: MakePlan, storage: Storage, face: Face): number {
  for (const path of plan.present) face.show({ type: 'path', path, state: 'present' });
  for (const path of plan.excluded) face.show({ type: 'path', path, state: 'excluded' });
  for (const { info, again } of plan.packs) {
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
      `${bytesText(narSize).padStart(8)}  ${path}${why}`,
    );
  }
  const event = planEvent(plan);
  const free = plan.freeBytes === undefined ? '' : `; ${bytesText(plan.freeBytes)} are free there`;
  face.show(
    event,
    `Would pack ${counted(plan.packs.length, 'path')} (${bytesText(plan.narBytes)} before compression) into ${storage.url}; ${counted(plan.present.size, 'path')} already there${leftOut(plan)}${free}.`,
  );
  showConflicts(plan.conflicts, storage, face);
  const exit = plan.conflicts.length === 0 ? 0 : errorTable.conflict.exit;
  face.show({
    ...event,
    ...conflictsIn(plan),
    type: 'summary',
    ok: exit === 0,
    exit,
    dryRun: true,
  });
  return exit;
}

/** `make` has none: there the store is right. */
const conflictsIn = ({ conflicts }: MakePlan) =>
  conflicts.length === 0 ? {} : { conflicts: conflicts.map(({ path }) => path) };

const leftOut = ({ excluded }: MakePlan): string =>
  excluded.size === 0 ? '' : `, ${countText(excluded.size)} left out`;

export function showStart(plan: MakePlan, storage: Storage, face: Face): void {
  face.show(planEvent(plan));
  const { freeBytes, narBytes } = plan;
  if (freeBytes !== undefined && freeBytes < narBytes / 4)
    face.note(
      `There are ${bytesText(freeBytes)} free at ${storage.url} for ${bytesText(narBytes)} of NARs before compression: the disk may not be big enough`,
    );
}

export function showEvent(event: MakeEvent, plan: MakePlan, face: Face): void {
  if (event.type === 'progress') {
    const { narBytes, paths } = event;
    face.progress({ narBytes, paths, totalNarBytes: plan.narBytes, totalPaths: plan.packs.length });
  } else if (event.state === 'failed') {
    const { code, message, path } = event;
    face.show({ type: 'error', code, message, facts: { path } });
  } else if (event.state === 'packed' && event.again !== undefined) {
    face.show(event, `Packed ${event.path} again: ${event.again}.`);
  } else face.show(event);
}

interface Ending {
  readonly storage: Storage;
  readonly keys: readonly SecretKey[];
  /** Who did not ask for logs hears in a note of those that cannot be read. */
  readonly logs: LogWish | undefined;
  readonly ms: number;
  readonly face: Face;
}

export function showSummary(plan: MakePlan, made: MadeSummary, ending: Ending): number {
  const { storage, keys, logs, ms, face } = ending;
  const unread = logs === 'asked' ? made.unread : [];
  for (const { code, message, facts } of unread) face.show({ type: 'error', code, message, facts });
  const [left] = logs === 'asked' ? [] : made.unread;
  if (left)
    face.note(
      `${counted(made.unread.length, 'build log')} stayed behind, as nobody asked for logs: ${left.message}`,
    );
  showConflicts(plan.conflicts, storage, face);
  const errors = [...made.failed.values(), ...unread].map(error => error.code);
  const code = gravest(plan.conflicts.length > 0 ? [...errors, 'conflict'] : errors);
  const exit = code === undefined ? 0 : errorTable[code].exit;
  const { added, narBytes, fileBytes, swept } = made;
  const paths = added + plan.present.size;
  const size = `${bytesText(narBytes)} of NARs in ${bytesText(fileBytes)} of files`;
  const what = added === 0 ? 'nothing new' : `${countText(added)} new; ${size}`;
  const lines = [
    `${storage.url}: ${counted(paths, 'path')}, ${what}${leftOut(plan)}; ${secondsText(ms)}`,
  ];
  if (swept > 0) lines.push(`Removed ${counted(swept, 'temporary file')} of interrupted runs.`);
  const sides = [
    ...(made.realisations > 0 ? [counted(made.realisations, 'realisation')] : []),
    ...(made.logs > 0 ? [counted(made.logs, 'build log')] : []),
  ];
  if (sides.length > 0) lines.push(`With it came ${sides.join(' and ')}.`);
  if (made.failed.size > 0)
    lines.push(`Not published: ${counted(made.failed.size, 'path')} that failed${heldText(made)}.`);
  else lines.push(...useText(plan, storage, keys));
  if (keys.length > 0 && plan.present.size > 0)
    lines.push(
      '',
      `${counted(plan.present.size, 'path')} that were there keep the signatures that they have; "granary sign" signs them too.`,
    );
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      cache: storage.url,
      paths,
      added,
      present: plan.present.size,
      excluded: plan.excluded.size,
      failed: [...made.failed.keys()],
      held: made.held,
      ...conflictsIn(plan),
      realisations: made.realisations,
      logs: made.logs,
      narBytes,
      fileBytes,
      seconds: ms / 1000,
    },
    lines.join('\n'),
  );
  return exit;
}

const heldText = ({ held }: MadeSummary): string =>
  held.length === 0
    ? ''
    : `, and ${counted(held.length, 'path')} that refer to them (such as ${held[0]})`;

/** How to install from the cache, ready to copy. */
function useText(plan: MakePlan, storage: Storage, keys: readonly SecretKey[]): string[] {
  const url = storage.local ? pathToFileURL(storage.url).href : storage.url;
  const trusted = keys.map(key => key.publicKey.text).join(' ');
  const [once, always] =
    trusted !== ''
      ? [` --option trusted-public-keys "${trusted}"`, [`  extra-trusted-public-keys = ${trusted}`]]
      : plan.needsSignatures
        ? [' --option require-sigs false', ['  require-sigs = false    # its paths are not signed']]
        : ['', []];
  if (plan.roots.length === 0) return [];
  return [
    '',
    'Use it once:',
    `  nix-store --realise ${plan.roots[0]} --option substituters ${url}${once}`,
    'or always, by these lines in nix.conf:',
    `  extra-substituters = ${url}`,
    ...always,
  ];
}
