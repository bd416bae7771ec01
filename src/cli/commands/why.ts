/** `granary why`: why a path of a cache needs another. */
import { GranaryError } from '../../errors.ts';
import { wayBetween } from '../../flow/graph.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookInto } from '../look.ts';

export const why: Command = {
  usage: 'granary why CACHE PATH DEPENDENCY',
  about: 'Shows a shortest chain of references from one path of a cache to another.',
  options: {},
  notes: `Exit status 1 when there is none: the path does not need the other.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const [name, from, to, ...more] = args.words;
  if (name === undefined || from === undefined || to === undefined || more.length > 0)
    throw new GranaryError(
      'usage',
      'Cannot tell why: name a CACHE and two paths, as in "granary why ./cache …-git-2.51 …-openssl-3.5"',
    );
  const { infos, roots } = await lookInto(name, { roots: [from] });
  const { roots: wanted } = await lookInto(name, { roots: [to], alone: true });
  const [first, last] = [roots[0]!, wanted[0]!];
  const way = wayBetween(infos, first, last);
  if (!way) {
    face.show(
      { type: 'summary', ok: false, exit: 1, way: [] },
      `${first} does not need ${last}: no chain of references leads there.`,
    );
    return 1;
  }
  const lines = way.map((path, depth) =>
    depth === 0 ? path : `${'    '.repeat(depth - 1)}└── ${path}`,
  );
  face.show({ type: 'summary', ok: true, exit: 0, way }, lines.join('\n'));
  return 0;
}
