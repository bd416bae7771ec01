/** What `copy` is to do without: its options, and how what came of them is told. */

import { GranaryError } from '../errors.ts';
import type { CopyPlan } from '../flow/copy-plan.ts';
import type { Filter, Unwanted } from '../flow/filter.ts';
import type { Arguments, Options } from './arguments.ts';
import type { Face } from './face.ts';
import { bytesText, counted, parseBytes } from './units.ts';

export const filterOptions: Options = {
  without: {
    value: 'GLOB',
    help: "leave out what has such a name (without its hash), as 'texlive-*', and all\nthat refers to it. Repeatable",
  },
  'max-size': {
    value: 'SIZE',
    help: 'leave out what has a bigger file than this (500MB, 2GiB), and all that\nrefers to it',
  },
};

/** @throws GranaryError `usage` for what can match nothing */
export function filterOf(args: Arguments): Filter {
  const names = args.all('without');
  for (const name of names)
    if (name === '' || name.includes('/'))
      throw new GranaryError(
        'usage',
        `Cannot use --without ${name}: it takes a pattern of names without their hash, as 'texlive-*'`,
      );
  const size = args.last('max-size');
  if (size === undefined) return { names };
  const maxBytes = parseBytes(size);
  if (maxBytes !== undefined) return { names, maxBytes };
  throw new GranaryError(
    'usage',
    `Cannot use --max-size ${size}: it takes a size, as 500MB, 1.5G, 2GiB or a number of bytes`,
  );
}

/** Lists what is left out, and why: for programs, and for people who ask for a plan. */
export function showUnwanted(unwanted: readonly Unwanted[], face: Face, isPlan: boolean): void {
  for (const { path, because, size, name } of unwanted) {
    const needs = because === path ? '' : `: it needs ${because}`;
    const why = name === undefined ? 'is too big' : `matches ${name}`;
    face.show(
      {
        type: 'path',
        path,
        state: 'unwanted',
        because,
        size,
        ...(name === undefined ? {} : { name }),
      },
      isPlan
        ? `${bytesText(size).padStart(8)}  ${path}  (left out${needs}, which ${why})`
        : undefined,
    );
  }
}

/** How many are left out, as the end of a sentence. */
export function unwantedText({
  unwanted,
  isOfRoots,
}: Pick<CopyPlan, 'unwanted' | 'isOfRoots'>): string {
  if (unwanted.length === 0) return '';
  const causes = new Set(unwanted.map(({ because }) => because)).size;
  const what = counted(unwanted.length, isOfRoots ? 'root' : 'path');
  return `, ${what} left out for ${counted(causes, 'path')} not wanted`;
}
