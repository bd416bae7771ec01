/** `granary info`: what a cache or a store says of paths, or a cache of itself. */
import { readable } from '../../bytes.ts';
import { readText } from '../../cache/cache.ts';
import { GranaryError } from '../../errors.ts';
import { closureOf, infosOf } from '../../flow/closure.ts';
import { fileSizeOf, narSizeOf, rootsOf } from '../../flow/graph.ts';
import type { NarInfo } from '../../format/narinfo.ts';
import type { PathInfo } from '../../format/path-info.ts';
import { keyNameOf } from '../../format/signature.ts';
import type { StorePath } from '../../format/store-path.ts';
import { openStore } from '../../store/open.ts';
import { findRoot } from '../../store/roots.ts';
import type { Store } from '../../store/store.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import { kindOf } from '../ends.ts';
import type { Face } from '../face.ts';
import { infoEvent, type Looked, lookInto } from '../look.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { bytesText, counted } from '../units.ts';

export const info: Command = {
  usage: 'granary info [OPTION]... CACHE|STORE [PATH...]',
  about: `Says what a cache is made of, or what its narinfos say of the PATHs: store paths, base names, hash parts, or links
that lead to one. Of a store (auto, local?root=DIR, daemon, unix:///path/to/socket, ssh://host) it says what that knows of the PATHs
(over ssh not by hash parts), or without PATHs what it says of itself.`,
  options: {
    closure: { help: 'the PATHs and all that they refer to' },
    all: { help: 'all paths' },
  },
  notes: `Nothing is proven by it: that is what "granary verify" is for. With --json each path is a line.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  growHeapSlowly();
  const [name, ...roots] = args.words;
  if (name === undefined)
    throw new GranaryError(
      'usage',
      'Cannot tell of nothing: name the CACHE, as in "granary info ./cache"',
    );
  if (kindOf(name) === 'store') return infoOfStore(name, roots, args, face);
  const looked = await lookInto(
    name,
    roots.length === 0 ? {} : { roots, alone: !args.has('closure') },
  );
  const infos = [...looked.infos.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  if (roots.length > 0 || args.has('all'))
    for (const each of infos)
      face.show({ type: 'path', state: 'info', ...infoEvent(each) }, textOf(each));
  if (roots.length === 0) await showCache(looked, infos, face);
  else
    face.show({
      type: 'summary',
      ok: true,
      exit: 0,
      paths: infos.length,
      narBytes: narSizeOf(infos),
      fileBytes: fileSizeOf(infos),
    });
  return 0;
}

/** A store tells of what it is asked for. */
async function infoOfStore(
  name: string,
  words: readonly string[],
  args: Arguments,
  face: Face,
): Promise<number> {
  if (words.length === 0 && !args.has('all')) return showStore(openStore(name), face);
  if (args.has('all'))
    throw new GranaryError(
      'usage',
      `Cannot tell of all that lies in the store ${name}: name PATHs, as in "granary info ${name} ./result"`,
    );
  const store = openStore(name);
  const roots: StorePath[] = [];
  for (const word of words) roots.push(await findRoot(word, store));
  const infos = await (args.has('closure') ? closureOf : infosOf)(roots, store);
  for (const each of infos.toSorted((a, b) => (a.path < b.path ? -1 : 1)))
    face.show({ type: 'path', state: 'info', ...infoEvent(each) }, textOf(each));
  const narBytes = narSizeOf(infos);
  face.show({ type: 'summary', ok: true, exit: 0, paths: infos.length, narBytes });
  return 0;
}

/** What it says of itself. */
async function showStore(store: Store, face: Face): Promise<number> {
  const { nixVersion, trusted, database, paths } = (await store.about?.()) ?? {};
  const trust =
    trusted === undefined
      ? 'does not say whether it trusts us'
      : `trusts us${trusted ? '' : ' not'}`;
  face.show(
    {
      type: 'summary',
      ok: true,
      exit: 0,
      store: store.url,
      storeDir: store.storeDir,
      nixVersion: nixVersion ?? null,
      trusted: trusted ?? null,
      database: database ?? null,
      paths: paths ?? null,
    },
    [
      `${store.url}: a Nix store, its paths in ${store.storeDir}`,
      ...(nixVersion === undefined ? [] : [`  daemon: Nix ${readable(nixVersion)}, ${trust}`]),
      ...(database === undefined
        ? []
        : [`  database: ${database}, ${counted(paths ?? 0, 'path')}`]),
    ].join('\n'),
  );
  return 0;
}

type Told = PathInfo & Partial<Pick<NarInfo, 'file'>>;

function textOf({ path, narHash, narSize, file, ...info }: Told): string {
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['NAR', `${bytesText(narSize)}, ${narHash}`],
    [
      'file',
      file &&
        `${readable(file.url)}, ${file.compression}${file.fileSize === undefined ? '' : `, ${bytesText(file.fileSize)}`}`,
    ],
    ['references', info.references.map(each => `\n    ${each}`).join('') || 'none'],
    ['deriver', info.deriver],
    ['content address', info.ca],
    ['signed by', info.signatures.map(each => readable(keyNameOf(each))).join(', ') || 'nobody'],
  ];
  return [
    path,
    ...lines
      .filter(([, value]) => value !== undefined)
      .map(([what, value]) => `  ${what}: ${value}`),
  ].join('\n');
}

/** What all of it is. */
async function showCache(
  { storage }: Looked,
  infos: readonly NarInfo[],
  face: Face,
): Promise<void> {
  const said = await readText(storage, 'nix-cache-info');
  const byPath = new Map(infos.map(each => [each.path, each]));
  const roots = rootsOf(byPath);
  const compressions = tally(infos.map(({ file }) => file.compression));
  const signers = tally(infos.flatMap(({ signatures }) => signatures.map(keyNameOf)));
  const unsigned = infos.filter(({ signatures, ca }) => signatures.length === 0 && !ca).length;
  const sizes = { narBytes: narSizeOf(infos), fileBytes: fileSizeOf(infos) };
  const list = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .map(([what, count]) => `${what} ${count}`)
      .join(', ') || 'none';
  face.show(
    {
      type: 'summary',
      ok: true,
      exit: 0,
      cache: storage.url,
      paths: infos.length,
      roots: roots.length,
      ...sizes,
      compressions,
      signers,
      unsigned,
      cacheInfo: said ?? null,
    },
    [
      `${storage.url}: ${counted(infos.length, 'path')}, of which ${counted(roots.length, 'root')} nobody refers to`,
      `  NARs: ${bytesText(sizes.narBytes)}, in files of ${bytesText(sizes.fileBytes)}`,
      `  compression: ${list(compressions)}`,
      `  signed by: ${readable(list(signers))}; ${unsigned} by nobody, and without a content address`,
      ...(said ?? 'There is no nix-cache-info')
        .trimEnd()
        .split('\n')
        .map(line => `  ${readable(line)}`),
    ].join('\n'),
  );
}

function tally(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names.toSorted()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
