/** `granary ls`: what lies in a path of a cache. */
import { readable } from '../../bytes.ts';
import { GranaryError } from '../../errors.ts';
import { findIn, treeOf } from '../../flow/look.ts';
import type { ListingNode } from '../../format/nar-listing.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookAtPlace } from '../look.ts';
import { countText } from '../units.ts';

export const ls: Command = {
  usage: 'granary ls [OPTION]... CACHE PATH[/SUB]',
  about:
    'Lists what lies in a path of a cache, from its listing, or where it has none from the archive.',
  options: { recursive: { help: 'and all that lies below' } },
  notes: `Nothing is proven by it: that is what "granary verify" is for.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const [name, word, ...more] = args.words;
  if (name === undefined || word === undefined || more.length > 0)
    throw new GranaryError(
      'usage',
      'Cannot list that: name a CACHE and a PATH in it, as in "granary ls ./cache /nix/store/…-hello/bin"',
    );
  const { storage, info, place } = await lookAtPlace(name, word);
  const found = findIn(await treeOf(storage, info), place, info.path);
  let entries = 0;
  for (const [at, node] of below(found.name, found.node, args.has('recursive'))) {
    entries += 1;
    face.show({ type: 'entry', name: readable(at), ...eventOf(node) }, textOf(at, node));
  }
  face.show({ type: 'summary', ok: true, exit: 0, path: info.path, entries });
  return 0;
}

/** The entries of a folder by their places, or the thing itself. */
function* below(
  at: string,
  node: ListingNode,
  isDeep: boolean,
): Generator<readonly [string, ListingNode]> {
  if (node.type !== 'directory') {
    yield [at, node];
    return;
  }
  for (const [name, entry] of node.entries) {
    const place = at === '' ? name : `${at}/${name}`;
    yield [place, entry];
    if (isDeep && entry.type === 'directory') yield* below(place, entry, true);
  }
}

function eventOf(node: ListingNode): Readonly<Record<string, unknown>> {
  if (node.type === 'symlink') return { kind: 'symlink', target: readable(node.target) };
  if (node.type === 'directory') return { kind: 'directory' };
  return { kind: 'regular', size: node.size, executable: node.executable };
}

function textOf(at: string, node: ListingNode): string {
  const shown = at === '' ? '.' : readable(at);
  if (node.type === 'directory') return `d ${'-'.padStart(14)}  ${shown}/`;
  if (node.type === 'symlink') return `l ${'-'.padStart(14)}  ${shown} -> ${readable(node.target)}`;
  return `${node.executable ? 'x' : '-'} ${countText(node.size).padStart(14)}  ${shown}`;
}
