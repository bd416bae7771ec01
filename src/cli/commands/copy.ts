/** `granary copy`: paths between caches and stores, whichever is at either end. */
import { availableParallelism } from 'node:os';
import { GranaryError } from '../../errors.ts';
import { executeCopy } from '../../flow/copy.ts';
import { planCopy } from '../../flow/copy-plan.ts';
import { executeImport } from '../../flow/import.ts';
import { planImport } from '../../flow/import-plan.ts';
import type { Packing } from '../../flow/repack.ts';
import { cacheSupply, type Supply, storeSupply } from '../../flow/supply.ts';
import type { StorePath } from '../../format/store-path.ts';
import { openStorage } from '../../storage/open.ts';
import type { Storage } from '../../storage/storage.ts';
import { openStore, openStoreToWrite } from '../../store/open.ts';
import { findRoot } from '../../store/roots.ts';
import type { Store } from '../../store/store.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead, refuseToAdd, refuseUnwritable } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import { kindOf } from '../ends.ts';
import { exclusionOf } from '../exclusion.ts';
import type { Face } from '../face.ts';
import { filterOf, filterOptions, showUnwanted } from '../filter.ts';
import { readSecretKey } from '../key-files.ts';
import { makeCache } from '../making.ts';
import { parsePacking } from '../packing.ts';
import { rootsIn } from '../root-list.ts';
import {
  showCopyPlan,
  showCopyStart,
  showCopySummary,
  showImportPlan,
  showImportSummary,
} from '../show-copy.ts';
import { growHeapSlowly } from '../small-heap.ts';

export const copy: Command = {
  usage: 'granary copy --from CACHE|STORE --to CACHE|STORE [OPTION]... [ROOT...]',
  about: `Copies the closures of the ROOTs, or all of a cache, from a cache or Nix store to another.
From cache to cache compressed files move as they are, but for --recompress, each checked against the FileHash of its narinfo; the
signatures of both sides are kept; logs, listings, debuginfo and realisations come along. From a store to a cache
paths are packed as by "granary make"; from a local one realisations and logs come along. Into a store they go
through its daemon, each NAR proven on the way; the daemon has to trust a signature. A ROOT is a store path,
its base name, its hash part (but not over ssh), or a link that leads to one (./result).`,
  options: {
    from: {
      value: 'SOURCE',
      help: 'a cache, or a store: auto, local, local?root=DIR, daemon,\nunix:///path/to/socket or ssh://host',
    },
    to: {
      value: 'TARGET',
      help: 'the cache to add to, or a folder to make; or the store of a daemon:\nauto, daemon, unix:///path/to/socket, or ssh://host',
    },
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
    sign: {
      value: 'FILE',
      help: 'a secret key to sign what is copied with, once its NAR is proven. Repeatable',
    },
    exclude: {
      value: 'WHAT',
      help: 'leave out what this cache has too, or the closure of this path in the\nstore, or what a file lists. Repeatable',
    },
    ...filterOptions,
    'no-closure': {
      help: 'copy the ROOTs alone; the target, --exclude or --with has to have the rest',
    },
    with: {
      value: 'CACHE',
      help: 'this cache has what is referred to and does not come along; nothing is\nleft out for it, and the target remembers it. Repeatable',
    },
    prefer: {
      value: 'source',
      help: 'take the NAR of the source where the target, a cache, has another',
    },
    link: {
      help: 'share the files on one disk (a hard link); they are not read, so not checked.\nBetween caches on this machine',
    },
    recompress: {
      value: 'NAME[:LEVEL]',
      help: 'unpack what is copied, prove it, and pack it anew: zstd, xz, gzip, br or\nnone. What the target has stays as it is',
    },
    listings: { help: 'write a listing (.ls) of each path, out of a store' },
    'debug-info': {
      help: 'write debuginfo/ files, which lead from a build id to its debug\ninformation, for what is packed out of a store',
    },
    'dry-run': { help: 'print the plan and write nothing' },
    jobs: { value: 'N', help: `threads (default: the cores, here ${availableParallelism()})` },
    'no-flush': { help: 'do not make it safe against a power cut: for throw-away caches' },
  },
  notes: `Where both ends have a path with different NARs nothing is overwritten, and the exit status is 7.
What cannot be listed (HTTP) brings debuginfo of paths that have a listing, and no realisations.
What the target has already gets what it lacks of these too; over a network only where all of a cache is copied.
A copy stays closed: a root that needs what --without or --max-size leave out is left out whole, and so is what only
such roots need; --dry-run lists them, each with what it needs and how big that is. What the target has stays.
--recompress takes memory as "granary make" does, and gives the files that it would.
Run again, it copies only what is missing; a run that was interrupted is completed by the next.

${exitStatuses}`,
  run,
};

type End = ReturnType<typeof kindOf>;

/** One run, with what all ways need. */
interface Run {
  readonly args: Arguments;
  readonly face: Face;
  readonly roots: readonly string[] | undefined;
  readonly start: number;
}

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  growHeapSlowly();
  const [from, to] = [args.only('from'), args.only('to')];
  if (from === undefined || to === undefined)
    throw new GranaryError(
      'usage',
      'Cannot copy without both ends: name them, as in "granary copy --from ./result --to ./cache"',
    );
  const named = [...args.words, ...args.all('roots').flatMap(rootsIn)];
  const roots = args.words.length === 0 && !args.has('roots') ? undefined : named;
  const [source, target] = [kindOf(from), kindOf(to)];
  refuseMeaningless(args, source, target);
  if (source === 'store' && named.length === 0)
    throw new GranaryError(
      'usage',
      `Cannot copy all of the store ${from}: name at least one ROOT, such as ./result`,
    );
  const one = { args, face, roots, start };
  if (target === 'store') return into(to, one, await supplyOf(from, source, one));
  return source === 'store' ? packed(from, to, one) : moved(from, to, one);
}

/** Options that mean nothing between such ends. */
function refuseMeaningless(args: Arguments, source: End, target: End): void {
  const [along, none] = ['those that a cache has come along', 'a store keeps no such files'];
  const why = {
    ...(source === 'cache' && target === 'cache'
      ? { listings: along, 'debug-info': along }
      : {
          link: 'a store shares no files with a cache',
          without: 'only a copy between caches leaves out by name',
          'max-size': 'only a copy between caches leaves out by size',
        }),
    ...(target === 'store'
      ? {
          listings: none,
          'debug-info': none,
          with: 'a store has to have itself what its paths refer to',
          prefer: 'what a store has it keeps',
          jobs: 'a store takes one path after the other',
          'no-flush': 'a store decides by itself when it is safe',
          recompress: 'what goes into a store is not compressed',
        }
      : {}),
  };
  for (const [option, reason] of Object.entries(why))
    if (args.has(option))
      throw new GranaryError('usage', `Cannot use --${option} here: ${reason}; leave it out`);
}

async function rootsOf(store: Store, { roots = [] }: Run): Promise<readonly StorePath[]> {
  const found = new Set<StorePath>();
  for (const root of roots) found.add(await findRoot(root, store));
  return [...found];
}

const toItself = (url: string): GranaryError =>
  new GranaryError('usage', `Cannot copy ${url} to itself: name another --to`);

async function supplyOf(from: string, kind: 'cache' | 'store', one: Run): Promise<Supply> {
  if (kind === 'cache') return cacheSupply(await openCacheToRead(from), one.roots);
  const store = openStore(from);
  return storeSupply(store, await rootsOf(store, one));
}

/** Into a store, through who writes it. */
async function into(to: string, { args, face, start }: Run, supply: Supply): Promise<number> {
  const from = args.last('from')!;
  const target = openStoreToWrite(to);
  if (supply.url === target.url) throw toItself(target.url);
  const keys = args.all('sign').map(readSecretKey);
  const plan = await planImport(supply, target, {
    noClosure: args.has('no-closure'),
    exclude: await exclusionOf(args, kindOf(from) === 'store' ? from : undefined),
  });
  if (args.has('dry-run')) return showImportPlan(plan, target, face);
  showCopyStart(plan, face);
  const done = await executeImport(plan, supply, target, {
    keys,
    report: progress => face.progress(progress),
  });
  face.done();
  const [ms, isSigned] = [Date.now() - start, keys.length > 0];
  return showImportSummary(plan, done, { source: supply, target, ms, isSigned, face });
}

const openTarget = (to: string, args: Arguments): Storage =>
  openStorage(to, { flush: !args.has('no-flush') });

/** Out of a store into a cache. */
async function packed(from: string, to: string, one: Run): Promise<number> {
  const { args, face, start } = one;
  const storage = openTarget(to, args);
  const store = openStore(from);
  return makeCache(
    {
      storage,
      sources: [{ store, roots: await rootsOf(store, one) }],
      storeDir: store.storeDir,
      ...(await parsePacking('recompress', args.last('recompress') ?? 'zstd')),
      listings: args.has('listings'),
      debugInfo: args.has('debug-info'),
      logs: store.log ? 'found' : undefined,
      cacheInfo: {},
      prefer: args.word('prefer', ['source']) ?? 'nobody',
      start,
    },
    args,
    face,
  );
}

/** From cache to cache. */
async function moved(from: string, to: string, { args, face, roots, start }: Run): Promise<number> {
  const source = await openCacheToRead(from);
  const target = openTarget(to, args);
  if (source.url === target.url) throw toItself(target.url);
  await refuseToAdd('copy into', target);
  refuseUnwritable('copy into', target.url);
  const link = args.has('link');
  const far = [source, target].find(({ local }) => !local);
  if (link && far)
    throw new GranaryError(
      'usage',
      `Cannot use --link with ${far.url}: only files on one disk of this machine can be shared; leave it out`,
    );
  const jobs = args.number('jobs', 1, 1024) ?? availableParallelism();
  const exclude = await exclusionOf(args);
  const keys = args.all('sign').map(readSecretKey);
  const recompress = await recompressionOf(args);
  const plan = await planCopy(source, target, {
    ...(roots === undefined ? {} : { roots }),
    noClosure: args.has('no-closure'),
    exclude,
    prefer: args.word('prefer', ['source']) ?? 'nobody',
    filter: filterOf(args),
  });
  if (args.has('dry-run')) return showCopyPlan(plan, target, face);
  showCopyStart(plan, face);
  showUnwanted(plan.unwanted, face, false);
  const copied = await executeCopy(plan, source, target, {
    cacheInfo: {},
    keys,
    link,
    ...(recompress === undefined ? {} : { recompress }),
    closedBy: exclude.names,
    jobs,
    report: progress => face.progress(progress),
  });
  face.done();
  const [ms, isSigned] = [Date.now() - start, keys.length > 0];
  return showCopySummary(plan, copied, { source, target, ms, isSigned, packing: recompress, face });
}

async function recompressionOf(args: Arguments): Promise<Packing | undefined> {
  const text = args.last('recompress');
  if (text === undefined) return undefined;
  if (args.has('link'))
    throw new GranaryError(
      'usage',
      'Cannot use --link with --recompress: what is packed anew shares no file',
    );
  return parsePacking('recompress', text);
}
