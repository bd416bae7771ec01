/** Where what is measured writes. */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { scratch } from '../test/clients/kept.ts';

/** A new folder in which client and root may write. */
export function newTarget(): string {
  const dir = join(scratch(), 'cache');
  mkdirSync(join(dir, '..'), { recursive: true });
  return dir;
}

/**
 * Where so many files have just been deleted, ext4 is slow to make new ones: it looks for inodes that
 * were not in use for five minutes (2,000 paths: 2.7 s and not 0.8). Such a folder stays to the end.
 */
const manyFiles = 1000;

/** Removes what was written, unless that would slow down what comes next. */
export function dropTarget(dir: string): void {
  const files = existsSync(dir) ? readdirSync(dir).length : 0;
  if (files < manyFiles) rmSync(dir, { recursive: true, force: true });
}
