/** Words of the daemon, read from bytes in hand. */
import assert from 'node:assert/strict';
import { type Reading, wireLimits } from '../../src/format/daemon-wire.ts';

/** What a Reading finds in these bytes, and how many it left; undefined when it wants more. */
export function readFrom<T>(
  bytes: Uint8Array,
  reading: Reading<T>,
): { readonly value: T; readonly left: number } | undefined {
  let rest = Buffer.from(bytes);
  let step = reading.next();
  while (!step.done) {
    const size = step.value;
    assert.ok(size >= 0 && size <= wireLimits.text + 8, `wants ${size} bytes at once`);
    if (rest.length < size) return undefined;
    step = reading.next(rest.subarray(0, size));
    rest = rest.subarray(size);
  }
  return { value: step.value, left: rest.length };
}
