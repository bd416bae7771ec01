import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBytes } from '../../src/cli/units.ts';

for (const [text, bytes] of Object.entries({
  0: 0,
  1000: 1000,
  '7B': 7,
  '1k': 1000,
  '1kB': 1000,
  '1K': 1000,
  '500MB': 500e6,
  '1.5G': 1.5e9,
  '2GiB': 2 * 2 ** 30,
  '1.1KiB': 1126,
  '1T': 1e12,
  '1PiB': 2 ** 50,
  '': undefined,
  MB: undefined,
  '-1': undefined,
  '1iB': undefined,
  '1e3': undefined,
  '.5G': undefined,
  '1 GB': undefined,
  '1gb': undefined,
}))
  test(`"${text}" is ${bytes ?? 'no number of'} bytes`, () => {
    assert.equal(parseBytes(text), bytes);
  });
