/** `granary cat`: the bytes of one file in a path of a cache. */
import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { collect, readable } from '../../bytes.ts';
import { GranaryError } from '../../errors.ts';
import { fileBytes, findFile, placeText, treeOf } from '../../flow/look.ts';
import type { ListingNode } from '../../format/nar-listing.ts';
import type { NarInfo } from '../../format/narinfo.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { lookAtPlace } from '../look.ts';

export const cat: Command = {
  usage: 'granary cat CACHE PATH/FILE',
  about: `Writes the bytes of a file in a path of a cache to standard output. With a listing and zstd only what has to be is
decompressed.`,
  options: {},
  notes: `Nothing is proven by it: that is what "granary verify" is for. With --json the file is one object, as text or base64,
and has at most 16 MiB.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
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
  if (args.has('json')) return showContent({ storage, info, ...found, node: found.node }, face);
  for await (const chunk of fileBytes(storage, info, found.node))
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
  return 0;
}

/** An object of JSON is built in memory, several times over. */
const mostInJson = 16 << 20;

interface Content {
  readonly storage: Storage;
  readonly info: NarInfo;
  readonly name: string;
  readonly node: Extract<ListingNode, { readonly type: 'regular' }>;
}

async function showContent({ storage, info, name, node }: Content, face: Face): Promise<number> {
  const { path } = info;
  const { size } = node;
  if (size > mostInJson)
    throw new GranaryError(
      'usage',
      `Cannot give ${placeText(path, name)} in JSON: it has ${size} bytes, and ${mostInJson} are the most; leave out --json`,
    );
  const bytes = (await collect(fileBytes(storage, info, node), mostInJson))!;
  const [encoding, content] = isUtf8(bytes)
    ? ['utf-8', bytes.toString('utf8')]
    : ['base64', bytes.toString('base64')];
  face.show({ type: 'content', path, name: readable(name), size, encoding, content });
  face.show({ type: 'summary', ok: true, exit: 0, path, size });
  return 0;
}
