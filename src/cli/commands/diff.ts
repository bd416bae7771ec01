/** `granary diff`: how two caches differ. */
import { GranaryError } from '../../errors.ts';
import { diffCaches } from '../../flow/diff.ts';
import { fileSizeOf, narSizeOf } from '../../flow/graph.ts';
import type { NarInfo } from '../../format/narinfo.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookInto } from '../look.ts';
import { rootsIn } from '../root-list.ts';
import { showDifferent, sizesOf, sizesText } from '../show-diff.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { bytesText, counted } from '../units.ts';

export const diff: Command = {
  usage: 'granary diff [OPTION]... CACHE CACHE [ROOT...]',
  about: `Says what only one of two caches has (- the first, + the second), and of which paths they say different things (~), with
what each says: NarHash, references, signatures, deriver, content address, or the file (compression, FileHash, FileSize).
With ROOTs only their closures are compared: what each cache has of them.`,
  options: {
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
  },
  notes: `Exit status 1 when they differ. No NAR file is read.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  growHeapSlowly();
  const [first, second, ...words] = args.words;
  if (first === undefined || second === undefined)
    throw new GranaryError(
      'usage',
      'Cannot compare that: name two caches, as in "granary diff ./old ./new"',
    );
  const roots = [...words, ...args.all('roots').flatMap(rootsIn)];
  const wish = words.length > 0 || args.has('roots') ? { roots, lenient: true } : {};
  const [a, b] = [await lookInto(first, wish), await lookInto(second, wish)];
  const found = new Set([...a.found, ...b.found]);
  for (const root of wish.roots ?? [])
    if (!found.has(root))
      throw new GranaryError(
        'absent',
        `Cannot find ${root}: neither ${a.storage.url} nor ${b.storage.url} has it`,
        { path: root },
      );
  const { onlyFirst, onlySecond, different, same } = diffCaches(a.infos, b.infos);
  for (const [state, sign, infos] of [
    ['first', '-', onlyFirst],
    ['second', '+', onlySecond],
  ] as const)
    for (const info of infos)
      face.show(
        { type: 'path', path: info.path, state, ...sizesOf(info) },
        `${sign} ${info.path}  ${sizesText(info)}`,
      );
  for (const each of different) showDifferent(each, face);
  const isEqual = onlyFirst.length + onlySecond.length + different.length === 0;
  const exit = isEqual ? 0 : 1;
  const sizes = (infos: readonly NarInfo[]) => ({
    paths: infos.length,
    narBytes: narSizeOf(infos),
    fileBytes: fileSizeOf(infos),
  });
  const told = ({ paths, narBytes, fileBytes }: ReturnType<typeof sizes>): string =>
    `${counted(paths, 'path')} (${bytesText(narBytes)}${paths === 0 ? '' : ` in ${bytesText(fileBytes)} of files`})`;
  const [only, whole] = [
    { first: sizes(onlyFirst), second: sizes(onlySecond) },
    { first: sizes([...a.infos.values()]), second: sizes([...b.infos.values()]) },
  ];
  face.show(
    {
      type: 'summary',
      ok: isEqual,
      exit,
      same,
      different: different.length,
      ...only,
      whole,
    },
    isEqual
      ? `Both have the same ${counted(same, 'path')}.`
      : `Only in ${a.storage.url}: ${told(only.first)}; only in ${b.storage.url}: ${told(only.second)}; ${counted(different.length, 'path')} different, ${same} the same. Compared were ${told(whole.first)} with ${told(whole.second)}.`,
  );
  return exit;
}
