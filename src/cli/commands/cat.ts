/** `granary cat`: the bytes of one file in a path of a cache. */
import { once } from 'node:events';
import { GranaryError } from '../../errors.ts';
import { fileBytes, findFile, placeText, treeOf } from '../../flow/look.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookAtPlace } from '../look.ts';

export const cat: Command = {
  usage: 'granary cat CACHE PATH/FILE',
  about: `Writes the bytes of a file in a path of a cache to standard output. With a listing and zstd only what has to be is
decompressed.`,
  options: {},
  notes: `Nothing is proven by it: that is what "granary verify" is for. There is no --json summary: the bytes are all.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, _: Face): Promise<number> {
  const [name, word, ...more] = args.words;
  if (name === undefined || word === undefined || more.length > 0)
    throw new GranaryError(
      'usage',
      'Cannot read that: name a CACHE and a file in it, as in "granary cat ./cache /nix/store/…-hello/bin/hello"',
    );
  const { storage, info, place } = await lookAtPlace(name, word);
  const found = findFile(await treeOf(storage, info), place, info.path);
  if (found.node.type !== 'regular')
    throw new GranaryError(
      'usage',
      `Cannot read ${placeText(info.path, found.name)}: it is a folder; "granary ls" lists it`,
    );
  for await (const chunk of fileBytes(storage, info, found.node))
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  return 0;
}
