import { deepEqual, equal, throws } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type UnplacedEvent, writeNar } from '../../src/format/nar-write.ts';

const file = (name: string, text: string, executable = false): UnplacedEvent[] => [
  { type: 'file', name, size: text.length, executable },
  { type: 'data', bytes: Buffer.from(text, 'latin1') },
];
const directory = (name: string): UnplacedEvent => ({ type: 'directory', name });
const symlink = (name: string, target = 'x'): UnplacedEvent => ({ type: 'symlink', name, target });
const end: UnplacedEvent = { type: 'end' };
const nar = (...events: UnplacedEvent[]): Buffer => Buffer.concat([...writeNar(events)]);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('an empty root file is 112 bytes, its contents at 96; an executable one at 128', () => {
  const plain = nar(...file('', ''));
  equal(plain.length, 112);
  equal(plain.indexOf('contents'), 80);
  const program = nar(...file('', '', true));
  equal(program.length, 144);
  equal(program.indexOf('contents'), 112);
});

test('a directory of lib/debug/.build-id/02/*.debug with "foo\\n" is Nix\'s 1008 bytes', () => {
  const debug = '623eda209c26a59b1a8638ff7752f6b945c26b.debug';
  const folders = ['', 'lib', 'debug', '.build-id', '02'];
  const bytes = nar(...folders.map(directory), ...file(debug, 'foo\n'), ...folders.map(() => end));
  equal(bytes.length, 1008);
  // The NAR that Nix's own tests name 100vxs724qr46phz8m24iswmg9p3785hsyagz0kchf6q6gf06sw6.nar.
  equal(sha256(bytes), '866b03dc33d838c826f84f790d0b3ae3a657b98e4454f4e1352463228eee1b80');
});

test('data may come in any pieces, empty ones too', () => {
  const pieces: UnplacedEvent[] = ['', 'he', '', 'llo', ''].map(text => ({
    type: 'data',
    bytes: Buffer.from(text),
  }));
  deepEqual(nar(file('', 'hello')[0]!, ...pieces), nar(...file('', 'hello')));
});

const wrong: Record<string, UnplacedEvent[]> = {
  'nothing at all': [],
  'a root with a name': [directory('a'), end],
  'two roots': [symlink(''), symlink('')],
  'an end too many': [directory(''), end, end],
  'an end too few': [directory(''), directory('a'), end],
  'a file too short': [file('', 'abc')[0]!, { type: 'data', bytes: Buffer.from('ab') }],
  'a node inside a file': [directory(''), file('a', 'abc')[0]!, symlink('b'), end],
  'a file too long': [file('', 'abc')[0]!, { type: 'data', bytes: Buffer.from('abcd') }],
  'data without a file': [{ type: 'data', bytes: Buffer.from('a') }],
  'a negative size': [{ type: 'file', name: '', size: -1, executable: false }],
  'half a byte': [{ type: 'file', name: '', size: 0.5, executable: false }],
  'an entry twice': [directory(''), symlink('a'), symlink('a'), end],
  'entries out of order': [directory(''), symlink('b'), symlink('a'), end],
  'bytes out of order': [directory(''), symlink('\xff'), symlink('z'), end],
  'an empty name': [directory(''), symlink(''), end],
  'a name that climbs': [directory(''), symlink('..'), end],
  'a name with a slash': [directory(''), symlink('a/b'), end],
  'an empty target': [symlink('', '')],
  'a target with a NUL': [symlink('', 'a\0b')],
  'a target of 4096 bytes': [symlink('', 't'.repeat(4096))],
  'nesting of 64 below the root': [
    ...Array.from({ length: 65 }, (_, depth) => directory(depth === 0 ? '' : 'd')),
    ...Array.from({ length: 65 }, () => end),
  ],
};
for (const [what, events] of Object.entries(wrong))
  test(`writeNar refuses ${what}`, () => {
    throws(() => nar(...events), { name: 'GranaryError', code: 'malformed' });
  });

test('writeNar names the folder of what it refuses', () => {
  throws(() => nar(directory(''), directory('a'), directory('b\xff'), symlink('x/y')), {
    message: 'Cannot write NAR: the invalid name "x/y" in "a/b\\xff"',
    facts: { path: 'a/b\\xff' },
  });
});
