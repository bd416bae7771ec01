/**
 * For commands that keep something of every path. V8 makes room ahead of what it needs, and more than
 * that is: a check of 100,000 narinfos peaks at 205 MiB with this, at 385 without, and is as fast.
 */
import { setFlagsFromString } from 'node:v8';

/** Lets the heap grow by small steps from now on. */
export function growHeapSlowly(): void {
  setFlagsFromString('--optimize-for-size');
  setFlagsFromString('--semi-space-growth-factor=1');
}
