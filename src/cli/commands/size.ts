/** `granary size`: what the roots of a cache weigh. */
import { GranaryError } from '../../errors.ts';
import { closureIn, fileSizeOf, narSizeOf, rootsOf, weigh } from '../../flow/graph.ts';
import type { ReadCache } from '../../flow/read-cache.ts';
import type { StorePath } from '../../format/store-path.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookInto } from '../look.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { bytesText, counted } from '../units.ts';

export const size: Command = {
  usage: 'granary size [OPTION]... CACHE [ROOT...]',
  about: `Shows what the closures of the ROOTs weigh, the heaviest first: their archives, before compression and as files, and
what no other of the ROOTs needs. Without ROOTs, of all paths that nobody refers to.`,
  options: {
    tree: { help: 'and below each root what it refers to, each path once' },
  },
  notes: `Columns: the archives of the closure, their files, the archives that only this root needs, and how many paths it has.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  growHeapSlowly();
  const [name, ...words] = args.words;
  if (name === undefined)
    throw new GranaryError(
      'usage',
      'Cannot weigh nothing: name the CACHE, as in "granary size ./cache"',
    );
  const {
    storage,
    infos,
    roots: named,
  } = await lookInto(name, words.length === 0 ? {} : { roots: words });
  const roots = words.length === 0 ? rootsOf(infos) : [...new Set(named)];
  const told: Told = { seen: new Set(), weights: new Map() };
  for (const [at, weight] of weigh(infos, roots).entries()) {
    const { path, narSize, closureSize, fileSize, ownSize, paths } = weight;
    const columns = [closureSize, fileSize, ownSize].map(bytes => bytesText(bytes).padStart(8));
    face.show(
      { type: 'path', path, state: 'root', narSize, closureSize, fileSize, ownSize, paths },
      `${at === 0 ? heading : ''}${columns.join(' ')} ${String(paths).padStart(6)}  ${path}`,
    );
    if (args.has('tree'))
      for (const line of tree(infos, path, told)) face.show(line.event, line.text);
  }
  const all = [...infos.values()];
  const sizes = { narBytes: narSizeOf(all), fileBytes: fileSizeOf(all) };
  face.show(
    {
      type: 'summary',
      ok: true,
      exit: 0,
      cache: storage.url,
      paths: all.length,
      roots: roots.length,
      ...sizes,
    },
    `${storage.url}: ${counted(all.length, 'path')} of ${counted(roots.length, 'root')}, ${bytesText(sizes.narBytes)} of NARs in ${bytesText(sizes.fileBytes)} of files`,
  );
  return 0;
}

/** Of the columns, for people. */
const heading = ' closure    files     only  paths  root\n';

interface Told {
  readonly seen: Set<StorePath>;
  readonly weights: Map<StorePath, number>;
}

/** What a path refers to, and so on, the heaviest first; a path that was shown is not unfolded again. */
function* tree(infos: ReadCache['infos'], root: StorePath, { seen, weights }: Told) {
  const weightOf = (path: StorePath): number => {
    const weight =
      weights.get(path) ?? narSizeOf([...closureIn(infos, path)].map(each => infos.get(each)!));
    weights.set(path, weight);
    return weight;
  };
  const below = (path: StorePath) =>
    infos
      .get(path)!
      .references.filter(each => each !== path && infos.has(each))
      .map(each => ({ path: each, weight: weightOf(each) }))
      .sort((a, b) => a.weight - b.weight); // the last is taken first
  const stack = below(root).map(each => ({ ...each, depth: 1 }));
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { path, weight, depth } = top;
    const again = seen.has(path);
    seen.add(path);
    yield {
      event: { type: 'path' as const, path, state: 'below', depth, closureSize: weight, again },
      text: `${bytesText(weight).padStart(8)}${' '.repeat(28)}${'  '.repeat(depth)}${path}${again ? ' (above)' : ''}`,
    };
    if (!again) stack.push(...below(path).map(each => ({ ...each, depth: depth + 1 })));
  }
}
