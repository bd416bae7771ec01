import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { memoryStorage } from '../../src/storage/memory.ts';
import { openSpool } from '../../src/storage/spool.ts';

test('a spool apart never gives a name twice, whatever was dropped, and leaves nothing', () => {
  const names: string[] = [];
  {
    using spool = openSpool(memoryStorage());
    for (let at = 0; at < 5; at++) {
      const name = spool.name('nar/x');
      writeFileSync(name, 'x', { flag: 'wx' });
      names.push(name);
      if (at === 1) spool.drop(names[0]!);
      if (at === 3) spool.done(names[2]!);
    }
    assert.equal(new Set(names).size, 5);
  }
  assert.ok(!existsSync(dirname(names[0]!)));
});
