import { deepEqual, equal, rejects, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GranaryError } from '../../src/errors.ts';
import { NarReader, readNar } from '../../src/format/nar-read.ts';
import type { NarEvent } from '../../src/format/nar-wire.ts';
import { type UnplacedEvent, writeNar } from '../../src/format/nar-write.ts';

/** `str(s)` and a row of words, by the definition. */
const str = (word: string): Buffer => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(word.length));
  return Buffer.concat([length, Buffer.from(word, 'latin1'), Buffer.alloc(-word.length & 7)]);
};
const words = (...all: string[]): Buffer => Buffer.concat(all.map(str));
const number = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};
const magic = 'nix-archive-1';
const empty = ['(', 'type', 'regular', 'contents', '', ')'];
const entry = (name: string, node: string[] = empty): string[] => [
  'entry',
  '(',
  'name',
  name,
  'node',
  ...node,
  ')',
];
const folder = (...entries: string[][]): string[] => [
  '(',
  'type',
  'directory',
  ...entries.flat(),
  ')',
];
const nar = (...node: string[]): Buffer => words(magic, ...node);

/** The events of chunks, with the data of each file in one piece. */
function read(...chunks: Uint8Array[]): NarEvent[] {
  const reader = new NarReader();
  const events: NarEvent[] = [];
  for (const chunk of chunks) events.push(...reader.push(chunk));
  reader.end();
  return joined(events);
}

function joined(events: Iterable<NarEvent>): NarEvent[] {
  const result: NarEvent[] = [];
  for (const event of events) {
    const last = result.at(-1);
    if (event.type === 'data' && last?.type === 'data')
      result[result.length - 1] = { type: 'data', bytes: Buffer.concat([last.bytes, event.bytes]) };
    else result.push(event);
  }
  return result;
}

const sample = nar(
  ...folder(
    entry(')'),
    entry('a', ['(', 'type', 'symlink', 'target', '../\xff', ')']),
    entry('d', folder(entry('f', ['(', 'type', 'regular', 'contents', 'hello', ')']))),
    entry('e', folder()),
    entry('x', ['(', 'type', 'regular', 'executable', '', 'contents', '12345678', ')']),
    entry('\xf5'),
  ),
);

test('a NAR becomes the flat events of its tree, each file with the place of its contents', () => {
  const events = read(sample);
  deepEqual(
    events.map(event => ('name' in event ? [event.type, event.name] : [event.type])),
    [
      ['directory', ''],
      ['file', ')'],
      ['symlink', 'a'],
      ['directory', 'd'],
      ['file', 'f'],
      ['data'],
      ['end'],
      ['directory', 'e'],
      ['end'],
      ['file', 'x'],
      ['data'],
      ['file', '\xf5'],
      ['end'],
    ],
  );
  deepEqual(events[2], { type: 'symlink', name: 'a', target: '../\xff' });
  const offset = sample.indexOf('hello');
  deepEqual(events[4], { type: 'file', name: 'f', size: 5, executable: false, offset });
  deepEqual(events[5], { type: 'data', bytes: Buffer.from('hello') });
  deepEqual(events[9], {
    type: 'file',
    name: 'x',
    size: 8,
    executable: true,
    offset: sample.indexOf('12345678'),
  });
});

test('the contents of a root file begin at byte 96, of an executable one at 128', () => {
  const offsets = [empty, ['(', 'type', 'regular', 'executable', '', 'contents', '', ')']].map(
    node => read(nar(...node)).map(event => event.type === 'file' && event.offset),
  );
  deepEqual(offsets, [[96], [128]]);
});

test('however a NAR is cut, its events are the same', () => {
  const whole = read(sample);
  deepEqual(read(...Array.from(sample, byte => Uint8Array.of(byte))), whole);
  for (let at = 0; at <= sample.length; at++)
    deepEqual(read(sample.subarray(0, at), sample.subarray(at)), whole);
});

test('a NAR that ends anywhere before its end is refused, and read no further than it goes', () => {
  for (let size = 0; size < sample.length; size++) {
    const reader = new NarReader();
    reader.push(sample.subarray(0, size));
    deepEqual([reader.offset, reader.done], [size, false]);
    throws(() => reader.end(), { code: 'malformed', message: /ends in the middle/ });
  }
});

test('no single byte of a NAR can be changed into a NAR of the same tree', () => {
  const whole = read(sample);
  for (let at = 0; at < sample.length; at++) {
    const bent = Buffer.from(sample);
    bent[at]! ^= 1;
    try {
      equal(JSON.stringify(read(bent)) === JSON.stringify(whole), false, `byte ${at}`);
    } catch (error) {
      if (!(error instanceof GranaryError)) throw error;
      equal(error.code, 'malformed');
    }
  }
});

test('what follows the root is not looked at', async () => {
  const reader = new NarReader();
  const one = nar('(', 'type', 'regular', 'contents', 'a', ')');
  const events = reader.push(Buffer.concat([one, words('sentinel')]));
  deepEqual([reader.done, reader.offset, events.length], [true, 120, 2]);
  deepEqual(reader.push(Buffer.from('more')), []);
  equal(reader.offset, 120);
  const chunks = [one, Buffer.from('more')];
  const seen: NarEvent[] = [];
  for await (const event of readNar(chunks)) seen.push(event);
  deepEqual(seen, events);
});

test('the data of a file is a part of the chunk, not a copy', () => {
  const bytes = nar('(', 'type', 'regular', 'contents', 'a long text', ')');
  const data = new NarReader().push(new Uint8Array(bytes)).find(event => event.type === 'data');
  equal(data?.bytes.byteOffset, 96);
  equal(data?.bytes.length, 11);
});

test('readNar refuses a NAR that ends too soon, and takes chunks that come late', async () => {
  async function* late(bytes: Buffer): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
  }
  const seen: NarEvent[] = [];
  for await (const event of readNar(late(sample))) seen.push(event);
  deepEqual(joined(seen), read(sample));
  await rejects(
    async () => {
      for await (const _ of readNar(late(sample.subarray(0, -1))));
    },
    { code: 'malformed' },
  );
});

const nest = (depth: number): string[] =>
  depth === 0 ? empty : folder(entry('d', nest(depth - 1)));
const bad: Record<string, [Uint8Array, RegExp]> = {
  'no NAR at all': [Buffer.from('\x7fELF'), /does not begin as one, at byte 0$/],
  'another version of the format': [words('nix-archive-2'), /begin as one, at byte 20$/],
  'a length of the magic that is huge': [number(2n ** 63n), /does not begin/],
  'an invalid tag instead of contents': [
    nar('(', 'type', 'regular', 'AAAAAAAA', '', ')'),
    /"contents" or "executable" has to stand here, at byte 80$/,
  ],
  'a keyword that is huge': [
    Buffer.concat([nar('(', 'type'), number(2n ** 40n)]),
    /"regular" or "symlink" or "directory" has to stand here, at byte 56$/,
  ],
  'an unknown type': [nar('(', 'type', 'fifo', ')'), /has to stand here/],
  'executable after contents': [
    nar('(', 'type', 'regular', 'contents', '', 'executable', '', ')'),
    /"\)" has to stand here/,
  ],
  'executable twice': [
    nar('(', 'type', 'regular', 'executable', '', 'executable', '', 'contents', '', ')'),
    /"contents" has to/,
  ],
  'an executable with a value': [
    nar('(', 'type', 'regular', 'executable', 'yes', 'contents', '', ')'),
    /"" has to stand here/,
  ],
  'a file without contents': [nar('(', 'type', 'regular', ')'), /"contents" or "executable"/],
  'a type twice': [nar('(', 'type', 'regular', 'type', 'regular'), /has to stand here/],
  'a symlink without a target': [nar('(', 'type', 'symlink', ')'), /"target" has to/],
  'a name after its node': [
    nar('(', 'type', 'directory', 'entry', '(', 'node', ...empty, 'name', 'a', ')', ')'),
    /"name" has to stand here/,
  ],
  'an entry without a node': [
    nar('(', 'type', 'directory', 'entry', '(', 'name', 'a', ')', ')'),
    /"node" has to stand here, at byte \d+ of "a"/,
  ],
  'a name with a NUL': [nar(...folder(entry('f\0o'))), /"f\\x00o" is no name/],
  'the name "."': [nar(...folder(entry('.'))), /"\." is no name/],
  'the name ".."': [nar(...folder(entry('..'))), /"\.\." is no name/],
  'a name with a slash': [nar(...folder(entry('x/y'))), /"x\/y" is no name/],
  'an empty name': [nar(...folder(entry(''))), /a name is empty/],
  'a name of 256 bytes': [nar(...folder(entry('n'.repeat(256)))), /a name has over 255 bytes/],
  'a target of 4096 bytes': [
    nar('(', 'type', 'symlink', 'target', 't'.repeat(4096), ')'),
    /a target has over 4095 bytes/,
  ],
  'an empty target': [nar('(', 'type', 'symlink', 'target', '', ')'), /a target is empty/],
  'a target with a NUL': [nar('(', 'type', 'symlink', 'target', 'a\0', ')'), /no target/],
  'a link and then a folder of one name': [
    nar(...folder(entry('a', ['(', 'type', 'symlink', 'target', '/', ')']), entry('a', folder()))),
    /"a" follows "a", out of order/,
  ],
  'entries out of order': [nar(...folder(entry('b'), entry('a'))), /"a" follows "b"/],
  'bytes out of order': [nar(...folder(entry('\xff'), entry('z'))), /"z" follows "\\xff"/],
  'a prefix after what it begins': [nar(...folder(entry('ab'), entry('a'))), /out of order/],
  'nesting of 64 below the root': [nar(...nest(64)), /nests over 64 nodes deep/],
  'a file of 2^64 - 1 bytes': [
    Buffer.concat([nar('(', 'type', 'regular', 'contents'), number(2n ** 64n - 1n), words('a')]),
    /absurd size, at byte 96/,
  ],
  'a file of 2^53 bytes': [
    Buffer.concat([nar('(', 'type', 'regular', 'contents'), number(2n ** 53n)]),
    /absurd size/,
  ],
  'contents with padding that is not zero': [
    Buffer.concat([
      nar('(', 'type', 'regular', 'contents'),
      number(1n),
      Buffer.from('a\0\0\0\0\0\0b'),
    ]),
    /padding is not zero, at byte 103/,
  ],
  'a name with padding that is not zero': [
    Buffer.concat([
      nar('(', 'type', 'directory', 'entry', '(', 'name'),
      number(1n),
      Buffer.from('abbbbbbb'),
    ]),
    /padding is not zero, at byte \d+ of "a"/,
  ],
  'a target with padding that is not zero': [
    Buffer.concat([nar('(', 'type', 'symlink', 'target'), number(7n), Buffer.from('abcdefgh')]),
    /padding is not zero/,
  ],
  'a keyword with padding that is not zero': [
    Buffer.concat([words(magic), number(1n), Buffer.from('(\0\0\0\0\0\0\x01')]),
    /"\(" has to stand here, at byte 39/,
  ],
};
for (const [what, [bytes, message]] of Object.entries(bad))
  test(`NarReader refuses ${what}, whole or byte by byte`, () => {
    throws(() => read(bytes), { name: 'GranaryError', code: 'malformed', message });
    throws(() => read(...Array.from(bytes, byte => Uint8Array.of(byte))), { message });
  });

test('an error says the byte and the path', () => {
  const bytes = nar(...folder(entry('a', folder(entry('\xc5\x91', ['(', 'type', 'fifo', ')'])))));
  const byte = bytes.indexOf('fifo') - 8;
  throws(() => read(bytes), { facts: { byte, path: 'a/ő' } });
});

test('the limits themselves are within: nesting, a name, a target', () => {
  equal(read(nar(...nest(63))).length, 63 * 2 + 1);
  equal(read(nar(...folder(entry('n'.repeat(255))))).length, 3);
  equal(read(nar('(', 'type', 'symlink', 'target', 't'.repeat(4095), ')')).length, 1);
});

test('a file that states 2^53 - 1 bytes costs no memory', () => {
  const before = process.memoryUsage();
  const reader = new NarReader();
  reader.push(nar('(', 'type', 'regular', 'contents'));
  reader.push(number(2n ** 53n - 1n));
  reader.push(Buffer.from('little'));
  const after = process.memoryUsage();
  equal(after.arrayBuffers - before.arrayBuffers < 2 ** 20, true);
  throws(() => reader.end(), { code: 'malformed' });
});

type Tree =
  | { readonly kind: 'file'; readonly text: Uint8Array; readonly executable: boolean }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory'; readonly entries: readonly (readonly [string, Tree])[] };

const bytesAs = (maxLength: number, refused: RegExp): fc.Arbitrary<string> =>
  fc
    .uint8Array({ minLength: 1, maxLength })
    .map(bytes => Buffer.from(bytes).toString('latin1'))
    .filter(text => !refused.test(text));

const { tree } = fc.letrec<{ tree: Tree }>(tie => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      kind: fc.constant('file' as const),
      text: fc.uint8Array({ maxLength: 40 }),
      executable: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('symlink' as const), target: bytesAs(30, /\0/) }),
    fc.record({
      kind: fc.constant('directory' as const),
      entries: fc
        .uniqueArray(fc.tuple(bytesAs(12, /[\0/]|^\.\.?$/), tie('tree')), { selector: ([n]) => n })
        .map(entries => entries.sort(([a], [b]) => (a < b ? -1 : 1))),
    }),
  ),
}));

function* eventsOf(node: Tree, name = ''): Generator<UnplacedEvent> {
  if (node.kind === 'symlink') yield { type: 'symlink', name, target: node.target };
  else if (node.kind === 'file') {
    yield { type: 'file', name, size: node.text.length, executable: node.executable };
    if (node.text.length > 0) yield { type: 'data', bytes: Buffer.from(node.text) };
  } else {
    yield { type: 'directory', name };
    for (const [child, below] of node.entries) yield* eventsOf(below, child);
    yield { type: 'end' };
  }
}

test('events written and read are the same events, with true offsets, for any bytes and cuts', () => {
  fc.assert(
    fc.property(tree, fc.integer({ min: 1, max: 50 }), (root, step) => {
      const events = [...eventsOf(root)];
      const bytes = Buffer.concat([...writeNar(events)]);
      const chunks = [];
      for (let at = 0; at < bytes.length; at += step) chunks.push(bytes.subarray(at, at + step));
      const seen = read(...chunks);
      for (const [index, event] of seen.entries()) {
        const next = seen[index + 1];
        if (event.type !== 'file' || next?.type !== 'data') continue;
        deepEqual(bytes.subarray(event.offset, event.offset + event.size), Buffer.from(next.bytes));
      }
      const plain = seen.map(event => {
        if (event.type !== 'file') return event;
        const { offset, ...rest } = event;
        return rest;
      });
      deepEqual(plain, events);
    }),
  );
});

test('any bytes are a NAR or malformed, and nothing else happens', () => {
  fc.assert(
    fc.property(fc.nat(sample.length - 1), fc.uint8Array({ maxLength: 20 }), (at, noise) => {
      const bent = Buffer.concat([sample.subarray(0, at), noise, sample.subarray(at)]);
      try {
        read(bent);
      } catch (error) {
        if (!(error instanceof GranaryError) || error.code !== 'malformed') throw error;
      }
    }),
    { numRuns: 300 },
  );
});
