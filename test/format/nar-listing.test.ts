import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ListingNode, parseListing, printListing } from '../../src/format/nar-listing.ts';
import { isNarName, isNarTarget } from '../../src/format/nar-wire.ts';

const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
const regular = (size: number, narOffset: number, executable = false): ListingNode => ({
  type: 'regular',
  size,
  executable,
  narOffset,
});
const symlink = (target: string): ListingNode => ({ type: 'symlink', target });
const directory = (...entries: [string, ListingNode][]): ListingNode => ({
  type: 'directory',
  entries: new Map(entries),
});

// What Nix 2.34.8 wrote for a tree of this kind.
const tree = directory(
  ['ő', regular(1, 2712)],
  [')', regular(1, 232)],
  ['10', regular(1, 424)],
  ['9', regular(1, 616)],
  ['__proto__', regular(1, 816)],
  ['a"b\\c', regular(3, 1008)],
  ['d', directory(['e', directory(['f', regular(1, 1472)])])],
  ['empty', directory()],
  ['link', symlink(latin1('dangling "q" ő'))],
  ['tab\tnl\n\x01\x7f', regular(1, 2104)],
  ['x', regular(10, 2328, true)],
  ['zero', regular(0, 2528)],
);
const written = latin1(
  '{"root":{"entries":{' +
    '")":{"narOffset":232,"size":1,"type":"regular"},' +
    '"10":{"narOffset":424,"size":1,"type":"regular"},' +
    '"9":{"narOffset":616,"size":1,"type":"regular"},' +
    '"__proto__":{"narOffset":816,"size":1,"type":"regular"},' +
    '"a\\"b\\\\c":{"narOffset":1008,"size":3,"type":"regular"},' +
    '"d":{"entries":{"e":{"entries":{"f":{"narOffset":1472,"size":1,"type":"regular"}},"type":"directory"}},"type":"directory"},' +
    '"empty":{"entries":{},"type":"directory"},' +
    '"link":{"target":"dangling \\"q\\" ő","type":"symlink"},' +
    '"tab\\tnl\\n\\u0001\x7f":{"narOffset":2104,"size":1,"type":"regular"},' +
    '"x":{"executable":true,"narOffset":2328,"size":10,"type":"regular"},' +
    '"zero":{"narOffset":2528,"size":0,"type":"regular"},' +
    '"ő":{"narOffset":2712,"size":1,"type":"regular"}},"type":"directory"},"version":1}',
);

/** Map keys as latin-1, as names are held. */
const named = (node: ListingNode): ListingNode =>
  node.type === 'directory'
    ? directory(
        ...[...node.entries].map(
          ([name, entry]) => [latin1(name), named(entry)] as [string, ListingNode],
        ),
      )
    : node;

test('a listing is byte for byte what Nix 2.34 writes', () => {
  equal(printListing(named(tree)), written);
  deepEqual(parseListing(written), named(tree));
});

test('a file or link alone has a listing too', () => {
  equal(
    printListing(regular(0, 96)),
    '{"root":{"narOffset":96,"size":0,"type":"regular"},"version":1}',
  );
  equal(printListing(symlink('x')), '{"root":{"target":"x","type":"symlink"},"version":1}');
});

test('names and targets that are not UTF-8 stand there as their bytes, and come back', () => {
  const node = directory(['\xff"\x80', symlink('\xc3\x28')]);
  const text = printListing(node);
  ok(Buffer.from(text, 'latin1').includes(Buffer.from([0xff, 0x5c, 0x22, 0x80])));
  deepEqual(parseListing(text), node);
});

const bytes = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    '1',
    '\\u0041',
    '\\',
    '"',
    '\x7f',
    '\xff',
  ),
  fc.uint8Array({ minLength: 1, maxLength: 8 }).map(all => Buffer.from(all).toString('latin1')),
);
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const { node: anyNode } = fc.letrec<{ node: ListingNode }>(tie => ({
  node: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    bytes.filter(isNarTarget).map(symlink),
    fc.tuple(count, count, fc.boolean()).map(args => regular(...args)),
    fc
      .array(fc.tuple(bytes.filter(isNarName), tie('node')), { maxLength: 4 })
      .map(all => directory(...all)),
  ),
}));

test('any listing comes back from its text, and prints the same again', () => {
  fc.assert(
    fc.property(anyNode, node => {
      const text = printListing(node);
      const read = parseListing(text);
      deepEqual(read, node);
      equal(printListing(read), text);
    }),
  );
});

const read: Record<string, [string, ListingNode]> = {
  'keys in any order, and blanks': [
    '{ "version" : 1, "root" : { "type" : "regular", "size" : 3, "narOffset" : 96 } }\n',
    regular(3, 96),
  ],
  'executable always, as from 2.35 on': [
    '{"root":{"executable":false,"narOffset":96,"size":3,"type":"regular"},"version":1}',
    regular(3, 96),
  ],
  'nothing on a file but its type': ['{"root":{"type":"regular"},"version":1}', regular(0, 0)],
  'other keys': ['{"root":{"type":"symlink","target":"x","y":1},"version":1,"z":2}', symlink('x')],
  'escapes beyond ASCII, which are UTF-8': [
    '{"root":{"type":"symlink","target":"\\u0151\\u00e9\\ud83d\\ude00\\u0041\\/\\u0022\\u005c"},"version":1}',
    symlink(latin1('őé😀A/"\\')),
  ],
  'a backslash before what looks like an escape': [
    '{"root":{"type":"symlink","target":"\\\\u0151\\\\\\u0041"},"version":1}',
    symlink('\\u0151\\A'),
  ],
};
for (const [what, [text, node]] of Object.entries(read))
  test(`a listing is read with ${what}`, () => deepEqual(parseListing(text), node));

test("a listing may list itself by any name, and no object's own names are in the way", () => {
  const text =
    '{"root":{"type":"directory","entries":{"__proto__":{"type":"regular"}}},"version":1}';
  const node = parseListing(text);
  ok(node.type === 'directory');
  deepEqual([...node.entries.keys()], ['__proto__']);
});

const nodes: Record<string, string> = {
  'a node that is null': 'null',
  'a node that is an array': '[]',
  'no type': '{}',
  'a type that Nix does not know': '{"type":"fifo"}',
  'a type that every object has': '{"type":"constructor"}',
  'a folder without entries': '{"type":"directory"}',
  'entries in an array': '{"type":"directory","entries":[]}',
  'an entry that is no node, as in shallow listings': '{"type":"directory","entries":{"x":{}}}',
  'an entry without a name': '{"type":"directory","entries":{"":{"type":"regular"}}}',
  'an entry called by two dots': '{"type":"directory","entries":{"..":{"type":"regular"}}}',
  'an entry with a slash': '{"type":"directory","entries":{"a/b":{"type":"regular"}}}',
  'an entry with an escaped slash':
    '{"type":"directory","entries":{"a\\u002fb":{"type":"regular"}}}',
  'an entry with a NUL': '{"type":"directory","entries":{"a\\u0000":{"type":"regular"}}}',
  'an entry of 256 bytes': `{"type":"directory","entries":{"${'\\u0151'.repeat(128)}":{"type":"regular"}}}`,
  'no target': '{"type":"symlink"}',
  'an empty target': '{"type":"symlink","target":""}',
  'a target with a NUL': '{"type":"symlink","target":"a\\u0000"}',
  'half a surrogate pair': '{"type":"symlink","target":"\\ud83d"}',
  'a size below zero': '{"type":"regular","size":-1}',
  'half a byte': '{"type":"regular","size":0.5}',
  'a size in quotes': '{"type":"regular","size":"1"}',
  'a size that a number cannot hold': '{"type":"regular","size":9007199254740992}',
  'an offset that a number cannot hold': '{"type":"regular","narOffset":1e300}',
  'an executable that is no yes or no': '{"type":"regular","executable":1}',
};
for (const [what, node] of Object.entries(nodes))
  test(`a listing with ${what} is malformed`, () =>
    throws(() => parseListing(`{"root":${node},"version":1}`), {
      name: 'GranaryError',
      code: 'malformed',
    }));

const texts: Record<string, string> = {
  nothing: '',
  'no JSON': '{"root":',
  'no version': '{"root":{"type":"regular"}}',
  'another version': '{"root":{"type":"regular"},"version":2}',
  'no root': '{"version":1}',
  'a bare node': '{"type":"regular"}',
  'a bad escape': '{"root":{"type":"symlink","target":"\\u12"},"version":1}',
};
for (const [what, text] of Object.entries(texts))
  test(`a listing of ${what} is malformed`, () =>
    throws(() => parseListing(text), { name: 'GranaryError', code: 'malformed' }));

test('a listing is as deep as a NAR may be, and not deeper', () => {
  const nested = (depth: number): string =>
    `{"root":${'{"type":"directory","entries":{"d":'.repeat(depth)}{"type":"regular"}${'}}'.repeat(depth)},"version":1}`;
  equal(parseListing(nested(63)).type, 'directory');
  for (const depth of [64, 1000, 200_000])
    throws(() => parseListing(nested(depth)), { name: 'GranaryError', code: 'malformed' });
});

test('a message about a listing shows names as a person reads them', () => {
  const text = latin1(
    '{"root":{"type":"directory","entries":{"ő\\u001b":{"type":"x"}}},"version":1}',
  );
  throws(() => parseListing(text), { message: /at "\/ő\\x1b"/ });
});

test('a listing of millions of escapes is read, however long their run', () => {
  const text = `{"x":"${'\\u0041'.repeat(2e6)}","root":{"type":"regular"},"version":1}`;
  deepEqual(parseListing(text), regular(0, 0));
});
