/** `granary make`: a cache of closures. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { codecFor } from '../../cache/codec.ts';
import { explained, GranaryError } from '../../errors.ts';
import type { Source } from '../../flow/plan.ts';
import type { Packing } from '../../flow/repack.ts';
import { parseReferencesGraph } from '../../format/references-graph.ts';
import type { StoreDir, StorePath } from '../../format/store-path.ts';
import { openStorage } from '../../storage/open.ts';
import { addedStore, parsePlainTree } from '../../store/added.ts';
import { graphStore } from '../../store/graph.ts';
import { openStore, placesOf } from '../../store/open.ts';
import { resolveRoot } from '../../store/roots.ts';
import type { Content } from '../../store/store.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import { kindOf } from '../ends.ts';
import type { Face } from '../face.ts';
import { makeCache } from '../making.ts';
import { parsePacking } from '../packing.ts';
import { rootsIn } from '../root-list.ts';

export const make: Command = {
  usage: 'granary make --to CACHE [--from STORE] [OPTION]... ROOT...',
  about: `Makes a binary cache of the closures of the ROOTs, or adds what is missing to one.
A ROOT is a store path, a path inside one, or a link that leads to one (./result).`,
  options: {
    to: {
      value: 'CACHE',
      help: 'the cache to make or add to: a folder (a path or file:// URL), or\nhttp(s):// where the server takes PUT, or s3://bucket/prefix',
    },
    from: {
      value: 'STORE',
      help: 'auto (default), local, local?root=DIR (also store, state, real, log),\ndaemon, unix:///path/to/socket, or ssh://[user@]host',
    },
    add: {
      value: 'PATH[=NAME]',
      help: 'a plain file or folder as a root; needs no Nix. Repeatable',
    },
    graph: {
      value: 'FILE',
      help: 'a references graph in place of the database: an .attrs.json with\nexportReferencesGraph, or one of its arrays. Repeatable',
    },
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
    'no-closure': {
      help: 'pack the ROOTs alone; the cache, --exclude or --with has to have the rest',
    },
    with: {
      value: 'CACHE',
      help: 'with --no-closure, this cache has what the ROOTs refer to; the new one\nremembers it. Repeatable',
    },
    compression: { value: 'NAME[:LEVEL]', help: 'zstd (default), xz, gzip, br or none' },
    level: { value: 'N', help: 'the same as :LEVEL; defaults: zstd 3, xz 6, gzip 6, br 5' },
    sign: { value: 'FILE', help: 'a secret key to sign what is packed with. Repeatable' },
    listings: { help: 'write a listing (.ls) of each path' },
    'debug-info': {
      help: 'write debuginfo/ files, which lead from a build id to its debug\ninformation, for what is packed',
    },
    logs: { help: 'bring along the logs of the builds that the store has (it has to be local)' },
    exclude: {
      value: 'WHAT',
      help: 'leave out what this cache has too, or the closure of this path in the\nstore, or what a file lists. Repeatable',
    },
    priority: {
      value: 'N',
      help: 'into nix-cache-info: lower is asked first (cache.nixos.org: 40)',
    },
    'want-mass-query': { help: 'into nix-cache-info: clients may ask for many paths at once' },
    'dry-run': { help: 'print the plan and write nothing' },
    jobs: {
      value: 'N',
      help: `packing threads (default: the cores, here ${availableParallelism()})`,
    },
    'no-flush': { help: 'do not make it safe against a power cut: for throw-away caches' },
  },
  notes: `Memory: under 256 MiB with two jobs at zstd's default level, whatever the sizes. Each job more adds
about 20 MiB; zstd 19 adds about 40 MiB a job, xz 6 about 140 MiB, xz 9 about 700 MiB, br about 40 MiB.

Run again, it adds only what is new; a run that was interrupted is completed by the next.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  const [from, to] = [args.only('from'), args.only('to')];
  if (to === undefined)
    throw new GranaryError(
      'usage',
      'Cannot make a cache without --to: name the folder to make, as in --to ./cache',
    );
  const packing = await parsePacking('compression', args.last('compression') ?? 'zstd');
  const { compression } = packing;
  const level = levelOf(args, packing);
  const priority = args.number('priority', 0, 2 ** 31 - 1);
  if (kindOf(to) === 'store')
    throw new GranaryError(
      'usage',
      `Cannot make a cache in the store ${to}: name a folder, as in --to ./cache; "granary copy" writes into stores`,
    );
  const storage = openStorage(to, { flush: !args.has('no-flush') });
  const { sources, storeDir } = await sourcesOf(from ?? 'auto', args, face);
  const logs = args.has('logs');
  if (logs && !sources.some(({ store }) => store.log))
    throw new GranaryError(
      'usage',
      'Cannot use --logs without a local store: only such a one has logs; name ROOTs, and --from local',
    );
  const cacheInfo = {
    ...(priority === undefined ? {} : { priority }),
    ...(args.has('want-mass-query') ? { wantMassQuery: true } : {}),
  };
  const [listings, debugInfo] = [args.has('listings'), args.has('debug-info')];
  return makeCache(
    {
      storage,
      sources,
      storeDir,
      compression,
      level,
      listings,
      debugInfo,
      logs: logs ? 'asked' : undefined,
      cacheInfo,
      prefer: 'source',
      start,
    },
    args,
    face,
  );
}

function levelOf(args: Arguments, { compression, level }: Packing): number {
  if (!args.has('level')) return level;
  if (args.last('compression')?.includes(':'))
    throw new GranaryError(
      'usage',
      `Cannot use --level with --compression ${args.last('compression')}: that says the level`,
    );
  const { levels } = codecFor(compression);
  if (levels) return args.number('level', levels.min, levels.max)!;
  throw new GranaryError(
    'usage',
    `Cannot use --level with --compression ${compression}: it has none`,
  );
}

/** Where paths come from: the store or the graph for ROOTs, and what is added. */
async function sourcesOf(
  from: string,
  args: Arguments,
  face: Face,
): Promise<{ sources: Source[]; storeDir: StoreDir }> {
  const places = placesOf(from);
  const { storeDir } = places;
  const sources: Source[] = [];
  const trees = args.all('add').map(parsePlainTree);
  const graphs = args.all('graph');
  for (const file of graphs) {
    const graph = parseReferencesGraph(readGraph(file), storeDir);
    sources.push({ store: graphStore(file, graph, places), roots: graph.roots });
  }
  const words = [...args.words, ...args.all('roots').flatMap(rootsIn)];
  if (words.length > 0) {
    const store = sources[0]?.store ?? openStore(from);
    const roots = words.map(word => resolveRoot(word, store));
    for (const root of roots)
      if (root.endsWith('.drv')) hintAtOutputs(root, store.content(root), face);
    sources.push({ store, roots });
  }
  if (trees.length > 0) {
    const store = await addedStore(trees, storeDir);
    sources.push({ store, roots: store.roots });
  }
  if (sources.length === 0)
    throw new GranaryError(
      'usage',
      'Cannot make a cache of nothing: name at least one ROOT (such as ./result), --add PATH or --graph FILE',
    );
  return { sources, storeDir };
}

const readGraph = (file: string): string =>
  explained(`read the references graph ${file}`, () => readFileSync(file, 'utf8'));

/** A derivation as a root is rarely what was meant: names what it builds. */
function hintAtOutputs(root: StorePath, content: Content, face: Face): void {
  let outputs: string[] = [];
  try {
    const text = readFileSync('tree' in content ? content.tree : root, 'latin1');
    const list = /^Derive\(\[(.*?)\],\[/s.exec(text)?.[1] ?? '';
    outputs = [...list.matchAll(/\("[^"]*","([^"]+)"/g)].map(match => match[1]!);
  } catch {
    // a hint is not worth an error: packing it will tell
  }
  const built = outputs.length > 0 ? `; it builds ${outputs.join(' and ')}` : '';
  face.note(
    `${root} is a derivation: the cache gets that file and its closure, not what it builds${built}`,
  );
}
