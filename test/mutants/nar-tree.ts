/** What a NAR can say: trees, and changes that make them other ones, which may be allowed or not. */
import { type Change, shown } from './mutant.ts';

export type Tree =
  | { readonly type: 'regular'; readonly executable: boolean; readonly contents: string }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory'; readonly entries: readonly Entry[] };
type Entry = readonly [name: string, tree: Tree];
type Directory = Extract<Tree, { type: 'directory' }>;

const regular = (contents: string, executable = false): Tree => ({
  type: 'regular',
  executable,
  contents,
});
const symlink = (target: string): Tree => ({ type: 'symlink', target });
const directory = (...entries: Entry[]): Directory => ({ type: 'directory', entries });

/** A tree of all kinds of nodes. */
export const tree = directory(
  ['a', regular('eight by')],
  ['b', directory(['x', regular('#!/bin/sh\n', true)], ['y', symlink('../a')])],
  ['c', directory()],
  ['d', symlink('/nix/store')],
  ['e', regular('')],
);
/** Trees to change. */
export const trees: readonly Tree[] = [
  tree,
  directory(),
  directory(...tree.entries.slice(2)),
  directory(['a', tree]),
  directory(['only', directory(['one', regular('x')])]),
  directory(['0', regular('x', true)], ['n', symlink('0')]),
];

export const text = (size: number): string =>
  '0123456789abcdef'.repeat(size / 16 + 1).slice(0, size);

const goodNames = [
  ...['A', '0', ')', '(', 'node', 'entry', '...', '.x', '..x', ' ', 'a b', '\n', '\\', '~', '-'],
  ...['"', '\x01', '\x7f', '\x80', '\xff', '\xc3\xa2', 'a\xcc\x82', 'x~nix~case~hack~1'],
  ...[text(7), text(8), text(9), text(254), text(255)],
];
const badNames = [
  ...['', '.', '..', '/', 'a/b', '/a', 'a/', '\0', 'f\0oo', 'f\0', text(256), text(5000)],
];
const goodTargets = [
  ...['x', '.', '..', '/', '../../../etc/passwd', '//', ' ', '\n', '\xff', text(8), text(255)],
  ...[text(256), text(4094), text(4095)],
];
const badTargets = ['', '\0', 'a\0b', 'a\0', text(4096), text(4097), text(70000)];
const sizes = [0, 1, 2, 7, 8, 9, 15, 16, 17, 4095, 4096, 65535, 65536, 70001];

/** A chain of so many nodes, the last a file. */
const deep = (nodes: number): Tree =>
  nodes === 1 ? regular('deep') : directory(['d', deep(nodes - 1)]);

/** What the entries of a directory can say, allowed or not. */
export const entryChanges: readonly Change<Tree>[] = [
  ...goodNames.map(name => entered(name, regular('new'), 'sorted')),
  ...badNames.map(name => entered(name, regular('new'), 'sorted')),
  ...goodTargets.map(target => entered('link', symlink(target), 'sorted')),
  ...badTargets.map(target => entered('link', symlink(target), 'sorted')),
  ...sizes.map(size => entered('file', regular(text(size)), 'sorted')),
  ...sizes.map(size => entered('program', regular(text(size), true), 'sorted')),
  ...[1, 2, 61, 62, 63, 64, 65, 66, 200].map(nodes => entered('z', deep(nodes), 'sorted')),
  ...goodNames.slice(0, 8).map(name => entered(name, directory(), 'sorted')),
  entered('a', regular('again'), 'last'),
  entered('a', symlink('/'), 'first'),
  entered('zz', regular('last'), 'first'),
  entered('\xff', regular('last'), 'sorted'),
  entered('B', regular('before a'), 'sorted'),
  entered('aa', regular('after a'), 'sorted'),
  entered('a\x01', regular('after a'), 'sorted'),
];

/** What the root can be, allowed or not. */
export const rootChanges: readonly Change<Tree>[] = [
  ...[61, 62, 63, 64, 65].map(nodes => rooted(`${nodes} nodes deep`, () => deep(nodes))),
  rooted('300 entries', () =>
    directory(...Array.from({ length: 300 }, (_, at): Entry => [`${at + 1000}`, regular(`${at}`)])),
  ),
  rooted('backwards', root =>
    root.type === 'directory' ? directory(...root.entries.toReversed()) : root,
  ),
  rooted('without its first entry', root =>
    root.type === 'directory' ? directory(...root.entries.slice(1)) : root,
  ),
  rooted('in a directory', root => directory(['in', root])),
  ...sizes.map(size => rooted(`a file of ${size} bytes`, () => regular(text(size)))),
  ...[...goodTargets, ...badTargets].map(target =>
    rooted(`a link to ${shown(target)}`, () => symlink(target)),
  ),
];

function entered(name: string, node: Tree, place: 'sorted' | 'first' | 'last'): Change<Tree> {
  const what = `${node.type} ${shown(name)} ${place}`;
  return {
    what: node.type === 'regular' ? `${what}, ${node.contents.length} bytes` : what,
    to: root => {
      if (root.type !== 'directory') return root;
      const { entries } = root;
      const at = { first: 0, last: entries.length, sorted: sortedPlace(root, name) }[place];
      const same = place === 'sorted' && entries[at]?.[0] === name ? 1 : 0;
      return directory(...entries.toSpliced(at, same, [name, node]));
    },
  };
}

const sortedPlace = ({ entries }: Directory, name: string): number => {
  const at = entries.findIndex(([other]) => other >= name);
  return at < 0 ? entries.length : at;
};

function rooted(what: string, to: (root: Tree) => Tree): Change<Tree> {
  return { what: `the root ${what}`, to };
}
