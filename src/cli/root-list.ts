/** Lists of roots, in files or as they come. */
import { readFileSync } from 'node:fs';
import { explained } from '../errors.ts';

/** The lines of a file, or with `-` of standard input; blank ones and such that begin with # are passed over. */
export function rootsIn(file: string): readonly string[] {
  const [name, place] = file === '-' ? ['on standard input', 0] : [file, file];
  const text = explained(`read the list ${name}`, () => readFileSync(place, 'utf8'));
  return text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'));
}
