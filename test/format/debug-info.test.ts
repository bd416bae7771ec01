import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debugKey, debugMembersIn, printDebugLink } from '../../src/format/debug-info.ts';
import type { ListingNode } from '../../src/format/nar-listing.ts';

const file: ListingNode = { type: 'regular', size: 4, executable: false, narOffset: 96 };
const folder = (entries: Record<string, ListingNode>): ListingNode => ({
  type: 'directory',
  entries: new Map(Object.entries(entries)),
});
const withIds = (ids: ListingNode): ListingNode =>
  folder({ lib: folder({ debug: folder({ '.build-id': ids }) }) });
const rest = '623eda209c26a59b1a8638ff7752f6b945c26b';

test('a debuginfo file is that of the test in Nix', () => {
  const [member, ...others] = debugMembersIn(
    withIds(folder({ '02': folder({ [`${rest}.debug`]: file }) })),
  );
  assert.deepEqual(others, []);
  assert.equal(debugKey(member!), `debuginfo/02${rest}.debug`);
  const url = 'nar/100vxs724qr46phz8m24iswmg9p3785hsyagz0kchf6q6gf06sw6.nar';
  assert.equal(
    printDebugLink(url, member!),
    `{"archive":"../${url}","member":"lib/debug/.build-id/02/${rest}.debug"}`,
  );
});

for (const [what, root] of Object.entries({
  'a file': file,
  'a link': { type: 'symlink', target: 'x' } as const,
  'a tree whose .build-id is a link': withIds({ type: 'symlink', target: 'x' }),
  'an upper-case build id': withIds(
    folder({ '02': folder({ [`${rest.toUpperCase()}.debug`]: file }) }),
  ),
  'a build id that is a folder': withIds(
    folder({ '02': folder({ [`${rest}.debug`]: folder({}) }) }),
  ),
  'a build id of other length': withIds(folder({ '02': folder({ [`${rest}0.debug`]: file }) })),
  'a file in place of the first two digits': withIds(folder({ '02': file })),
}))
  test(`${what} has no debug information`, () => {
    assert.deepEqual(debugMembersIn(root), []);
  });
