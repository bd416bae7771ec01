import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCacheInfo, withCacheInfo } from '../../src/format/cache-info.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';

const plain = { wantMassQuery: false, priority: 0 };

// What Nix 2.34.8 makes of each was asked of it.
const read: Record<string, [string, object]> = {
  nothing: ['', plain],
  'what Nix writes': ['StoreDir: /nix/store\n', { ...plain, storeDir: '/nix/store' }],
  'all three, in another order, without a newline at the end': [
    'Priority: 30\nWantMassQuery: 1\nStoreDir: /nix/store',
    { storeDir: '/nix/store', wantMassQuery: true, priority: 30 },
  ],
  'CRLF, and no blank behind the colon': [
    'StoreDir:/nix/store\r\nPriority:\t7 \r\n',
    { ...plain, storeDir: '/nix/store', priority: 7 },
  ],
  'blanks that Nix does not know as such': [
    'StoreDir: \v/nix/store\xa0\n',
    { ...plain, storeDir: '\v/nix/store\xa0' },
  ],
  'lines without a colon, blank lines, unknown keys': [
    '\n# hello\nX: 1\n\nPriority: 5\n',
    { ...plain, priority: 5 },
  ],
  'keys that are not quite ours': ['priority: x\n Priority: y\nPriority : z\n', plain],
  'an empty StoreDir': ['StoreDir:\n', { ...plain, storeDir: '' }],
  'the same StoreDir twice': ['StoreDir: /a\nStoreDir: /a\n', { ...plain, storeDir: '/a' }],
  'a value with colons': ['StoreDir: /a:b\n', { ...plain, storeDir: '/a:b' }],
  'the last of two priorities': ['Priority: 1\nPriority: 2\n', { ...plain, priority: 2 }],
  'the last of two wishes': ['WantMassQuery: 1\nWantMassQuery: 0\n', plain],
  'a wish by another word than 1': ['WantMassQuery: true\n', plain],
  'junk behind the number': ['Priority: 30x\n', { ...plain, priority: 30 }],
  'a sign': ['Priority: +5\n', { ...plain, priority: 5 }],
  'a number in base 16, which is a zero': ['Priority: 0x1f\n', plain],
  'a vertical tab before the number': ['Priority: \v5\n', { ...plain, priority: 5 }],
  'the least number': ['Priority: -2147483648\n', { ...plain, priority: -2147483648 }],
};
for (const [what, [text, info]] of Object.entries(read))
  test(`nix-cache-info is read with ${what}`, () => deepEqual(parseCacheInfo(text), info));

const refused: Record<string, [string, string]> = {
  'an empty Priority': ['Priority:\n', 'Priority'],
  'a Priority that is no number': ['Priority: high\n', 'Priority'],
  'a Priority out of range': ['Priority: 2147483648\n', 'Priority'],
  'a Priority with a sign apart': ['Priority: - 5\n', 'Priority'],
  'a bad Priority before a good one': ['Priority: x\nPriority: 5\n', 'Priority'],
  'two store directories': ['StoreDir: /nix/store\nStoreDir: /gnu/store\n', 'StoreDir'],
};
for (const [what, [text, field]] of Object.entries(refused))
  test(`nix-cache-info with ${what} is malformed, since no Nix opens it`, () =>
    throws(() => parseCacheInfo(text), {
      name: 'GranaryError',
      code: 'malformed',
      facts: { field },
    }));

test('a value of a million blanks is read at once', () => {
  const text = `X: a${' '.repeat(1e6)}b\nPriority: 1${' '.repeat(1e6)}\n`;
  const start = performance.now();
  equal(parseCacheInfo(text).priority, 1);
  equal(performance.now() - start < 1000, true);
});

const storeDir = defaultStoreDir;
const edits: Record<string, [string | undefined, object, string]> = {
  'a new one says the store directory': [undefined, {}, 'StoreDir: /nix/store\n'],
  'a new one has the order that caches have': [
    undefined,
    { priority: 30, wantMassQuery: true },
    'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n',
  ],
  'what is right already stays, byte for byte': [
    '# mine\r\nPriority:30\r\nStoreDir:/nix/store \n\n',
    { priority: 30 },
    '# mine\r\nPriority:30\r\nStoreDir:/nix/store \n\n',
  ],
  'what is missing comes last': [
    'X: y\n',
    { priority: 1 },
    'X: y\nStoreDir: /nix/store\nPriority: 1\n',
  ],
  'a last line without its newline gets one first': [
    'StoreDir: /nix/store',
    { priority: 1 },
    'StoreDir: /nix/store\nPriority: 1\n',
  ],
  'of two, the one that counts changes': [
    'StoreDir: /nix/store\nPriority: 1\nPriority: 2\nX: y\n',
    { priority: 3 },
    'StoreDir: /nix/store\nPriority: 1\nPriority: 3\nX: y\n',
  ],
  'a wish can be withdrawn': [
    'StoreDir: /nix/store\nWantMassQuery: 1',
    { wantMassQuery: false },
    'StoreDir: /nix/store\nWantMassQuery: 0',
  ],
  'what is not given stays': [
    'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 9\n',
    {},
    'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 9\n',
  ],
};
for (const [law, [before, values, after]] of Object.entries(edits))
  test(`nix-cache-info: ${law}`, () =>
    equal(withCacheInfo(before, { storeDir, ...values }), after));

test('what was written into any readable nix-cache-info is read from it, all else as before', () => {
  const line = fc.oneof(
    fc.constantFrom('StoreDir: /nix/store', 'Priority: 4x', 'WantMassQuery:1\r', 'X: y', '', '# z'),
    fc.string({ unit: fc.constantFrom('a', ':', ' ', '\xe9') }),
  );
  fc.assert(
    fc.property(
      fc.array(line).map(lines => lines.join('\n')),
      fc.record(
        { priority: fc.integer({ min: -99, max: 99 }), wantMassQuery: fc.boolean() },
        { requiredKeys: [] },
      ),
      (text, values) => {
        const before = parseCacheInfo(text);
        const changed = withCacheInfo(text, { storeDir, ...values });
        deepEqual(parseCacheInfo(changed), { ...before, storeDir, ...values });
        equal(withCacheInfo(changed, { storeDir, ...values }), changed);
      },
    ),
  );
});
