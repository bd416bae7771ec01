/** The ROOTs of a command line, and lists of them: in files, or as they come. */
import { readFileSync } from 'node:fs';
import { explained, GranaryError } from '../errors.ts';
import type { Arguments } from './arguments.ts';

/**
 * The ROOTs among these words and in the lists of `--roots`; undefined where none are asked for, which means all.
 *
 * @throws GranaryError `usage` for lists that name none: that is neither all nor nothing
 */
export function namedRoots(
  args: Arguments,
  words: readonly string[],
): readonly string[] | undefined {
  const lists = args.all('roots');
  const roots = [...words, ...lists.flatMap(rootsIn)];
  if (roots.length > 0) return roots;
  if (lists.length === 0) return undefined;
  throw new GranaryError(
    'usage',
    `Cannot find a ROOT in ${lists.join(', ')}: write one a line, or leave out --roots`,
  );
}

/** The lines of a file, or with `-` of standard input; blank ones and such that begin with # are passed over. */
export function rootsIn(file: string): readonly string[] {
  const [name, place] = file === '-' ? ['on standard input', 0] : [file, file];
  const text = explained(`read the list ${name}`, () => readFileSync(place, 'utf8'));
  return text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'));
}
