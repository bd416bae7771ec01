/** Lists of roots in files. */
import { readFileSync } from 'node:fs';
import { explained } from '../errors.ts';

/** The lines of a file; blank ones and such that begin with # are passed over. */
export function rootsIn(file: string): readonly string[] {
  const text = explained(`read the list ${file}`, () => readFileSync(file, 'utf8'));
  return text
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && !line.startsWith('#'));
}
