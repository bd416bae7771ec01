/**
 * Mutants of NARs. What a NAR says is changed in its tree: the result is well formed, whether or not
 * it is allowed. How it says it is changed in its tokens: words, lengths, padding, order.
 */
import {
  below,
  type Change,
  changed,
  type Mutant,
  pick,
  type Random,
  shown,
  some,
} from './mutant.ts';
import { entryChanges, rootChanges, type Tree, text, tree, trees } from './nar-tree.ts';

/** A string of a NAR as it is written: what a reader is told of its length, and what follows it. */
interface Token {
  readonly text: string;
  readonly length: bigint;
  readonly padding: string;
}
type Tokens = readonly Token[];

const token = (text: string): Token => ({
  text,
  length: BigInt(text.length),
  padding: '\0'.repeat(-text.length & 7),
});

const tokensOf = (root: Tree): Tokens => ['nix-archive-1', ...wordsOf(root)].map(token);

function wordsOf(node: Tree): string[] {
  const body = (): string[] => {
    if (node.type === 'symlink') return ['target', node.target];
    if (node.type === 'regular')
      return [...(node.executable ? ['executable', ''] : []), 'contents', node.contents];
    return node.entries.flatMap(([name, entry]) => [
      ...['entry', '(', 'name', name, 'node'],
      ...wordsOf(entry),
      ')',
    ]);
  };
  return ['(', 'type', node.type, ...body(), ')'];
}

function printTokens(tokens: Tokens): string {
  const length = Buffer.alloc(8);
  return tokens
    .map(token => {
      length.writeBigUInt64LE(token.length);
      return length.toString('latin1') + token.text + token.padding;
    })
    .join('');
}

const words = [
  ...['nix-archive-1', '(', ')', 'type', 'regular', 'executable', 'contents', 'symlink', 'target'],
  ...['directory', 'entry', 'name', 'node', '', 'x', 'AAAAAAAA', text(33), text(300)],
];

/** What can happen to a token, wherever it is. */
const tokenChanges: readonly Change<Token>[] = [
  ...words.map(word => ({
    what: `is ${shown(word)}`,
    to: () => token(word),
  })),
  ...Object.entries<(text: string) => string>({
    'in capitals': text => text.toUpperCase(),
    'with a NUL behind it': text => `${text}\0`,
    'without its last byte': text => text.slice(0, -1),
    'with a blank behind it': text => `${text} `,
  }).map(([what, to]) => ({ what, to: (it: Token) => token(to(it.text)) })),
  ...Object.entries<(length: bigint) => bigint>({
    'with a length one too great': length => length + 1n,
    'with a length eight too great': length => length + 8n,
    'with a length one too small': length => (length > 0n ? length - 1n : 1n),
    'with the length 0': () => 0n,
    'with the length 2^32': () => 2n ** 32n,
    'with the length 2^53': () => 2n ** 53n,
    'with the length 2^63': () => 2n ** 63n,
    'with the length 2^64-1': () => 2n ** 64n - 1n,
  }).map(([what, to]) => ({ what, to: (it: Token) => ({ ...it, length: to(it.length) }) })),
  ...Object.entries<(padding: string) => string>({
    'without padding': () => '',
    'with padding of ones': padding => '\x01'.repeat(padding.length),
    'with padding whose last byte is not zero': padding =>
      padding.slice(0, -1) + '\x80'.repeat(padding.length && 1),
    'with eight bytes of padding more': padding => `${padding}${'\0'.repeat(8)}`,
    'with a byte of padding less': padding => padding.slice(0, -1),
  }).map(([what, to]) => ({ what, to: (it: Token) => ({ ...it, padding: to(it.padding) }) })),
];

/** What can happen to the row of tokens at one place. */
const rowChanges: Readonly<Record<string, (tokens: Tokens, at: number) => Tokens>> = {
  'left out': (tokens, at) => tokens.toSpliced(at, 1),
  twice: (tokens, at) => tokens.toSpliced(at, 0, tokens[at]!),
  'after the next': (tokens, at) =>
    tokens.toSpliced(at, 2, ...tokens.slice(at, at + 2).toReversed()),
  'the last': (tokens, at) => tokens.slice(0, at + 1),
  'with the next twice': (tokens, at) => tokens.toSpliced(at, 0, ...tokens.slice(at, at + 2)),
  'behind contents': (tokens, at) => tokens.toSpliced(at, 0, token('contents'), token('')),
  'behind executable': (tokens, at) => tokens.toSpliced(at, 0, token('executable'), token('')),
};

const placed = (at: number): Change<Tokens>[] => [
  ...tokenChanges.map(({ what, to }) => ({
    what: `token ${at} ${what}`,
    to: (tokens: Tokens) => tokens.with(at % tokens.length, to(tokens[at % tokens.length]!)),
  })),
  ...Object.entries(rowChanges).map(([what, to]) => ({
    what: `token ${at} ${what}`,
    to: (tokens: Tokens) => to(tokens, at % tokens.length),
  })),
];

/** What may follow a NAR, and where it may end. */
const tails: readonly Change<string>[] = [
  ...['sentinel', '\0', '\0'.repeat(8), 'x'.repeat(70000)].map(tail => ({
    what: `with ${shown(tail)} behind it`,
    to: (nar: string) => nar + tail,
  })),
  { what: 'twice', to: nar => nar + nar },
  { what: 'nothing', to: () => '' },
  ...[1, 7, 8, 9, 16, 17].map(size => ({
    what: `without its last ${size} bytes`,
    to: (nar: string) => nar.slice(0, -size),
  })),
];

const printTree = (root: Tree): string => printTokens(tokensOf(root));

/** Each change of a tree, each of each token of a tree that has them all, and each tail. */
export const narSingles: readonly Mutant[] = [
  ...[...entryChanges, ...rootChanges].map(change => changed(tree, [change], printTree)),
  ...tokensOf(tree).flatMap((_, at) =>
    placed(at).map(change => changed(tokensOf(tree), [change], printTokens)),
  ),
  ...tails.map(change => changed(printTree(tree), [change], nar => nar)),
];

/** Some changes of a tree, and then, for every third, one of its tokens or of its end. */
export function narMutant(random: Random): Mutant {
  const changes = random() < 0.9 ? entryChanges : rootChanges;
  const inTree = some(random, changes, 2);
  const root = inTree.reduce((before, { to }) => to(before), pick(random, trees));
  const what = inTree.map(change => change.what).join(', then ');
  const dice = random();
  const last =
    dice < 0.2
      ? changed(tokensOf(root), [pick(random, placed(below(random, 10_000)))], printTokens)
      : dice < 0.3
        ? changed(printTree(root), [pick(random, tails)], nar => nar)
        : changed(root, [], printTree);
  return { what: last.what ? `${what}, then ${last.what}` : what, bytes: last.bytes };
}
