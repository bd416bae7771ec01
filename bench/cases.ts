/** What is measured against what, and the goals: medians of ratios in one run, on two cores. */
import { join } from 'node:path';
import type { Corpus } from '../test/clients/corpus.ts';
import { scratch } from '../test/clients/kept.ts';
import { execute } from '../test/clients/process.ts';
import { many, oneFile, packages, smallFiles } from './corpora.ts';
import { type Cost, measured } from './measure.ts';
import {
  floor,
  granary,
  granaryMake,
  type Maker,
  nixCopy,
  nixCopyCache,
  nixpkgsScript,
  nixVerify,
} from './peers.ts';

/** Something that is measured; `to` is a new folder, which is removed afterwards. */
type Measure = (to: string) => Promise<Cost>;

export interface Peer {
  readonly name: string;
  readonly run: Measure;
  /** Our time divided by the peer's should be at most this; peers of one group count by their best. */
  readonly goal?: { readonly ratio: number; readonly best?: string };
  /** Whether our files should be no larger than its files, by 1 % at most. */
  readonly sizes?: boolean;
}

export interface Case {
  readonly name: string;
  readonly ours: Measure;
  readonly peers: readonly Peer[];
  /** An absolute goal, beside the ratios. */
  readonly seconds?: number;
}

/** By name; each is prepared when it is asked for. */
export const cases: Readonly<Record<string, () => Promise<readonly Case[]>>> = {
  packages: async () => {
    const corpus = await packages();
    const on = makersOn(corpus);
    return [
      {
        name: 'make, packages, zstd',
        ours: on(granaryMake('--no-flush')),
        peers: [
          ...both('', on, 0.9),
          { name: 'nix copy 2.8', run: on(nixCopy('oldest', 'compression=zstd')) },
          { name: "nixpkgs' script", run: on(nixpkgsScript), goal: { ratio: 0.4 } },
          { name: 'floor', run: () => floor(corpus), goal: { ratio: 1.2 } },
        ],
      },
      {
        name: 'make, packages, zstd, flushed',
        ours: on(granaryMake()),
        peers: both(' && sync -f', on),
      },
      {
        name: 'make, packages, none',
        ours: on(granaryMake('--no-flush', '--compression', 'none')),
        peers: [
          {
            name: 'nix copy',
            run: on(nixCopy('newest', 'compression=none')),
            goal: { ratio: 0.8 },
            sizes: true,
          },
        ],
      },
      {
        name: 'make, packages, none, flushed',
        ours: on(granaryMake('--compression', 'none')),
        peers: [
          {
            name: 'nix copy && sync -f',
            run: on(nixCopy('newest', 'compression=none', { flush: true })),
          },
        ],
      },
    ];
  },
  many: async () => {
    const on = makersOn(await many(2000));
    return [
      {
        name: 'make, many (2,000)',
        ours: on(granaryMake('--no-flush')),
        peers: [
          {
            name: 'nix copy',
            run: on(nixCopy('newest', 'compression=zstd')),
            goal: { ratio: 0.75 },
          },
          { name: 'nix copy 2.8', run: on(nixCopy('oldest', 'compression=zstd')) },
          { name: "nixpkgs' script", run: on(nixpkgsScript), goal: { ratio: 0.015 } },
        ],
      },
      {
        name: 'make, many (2,000), flushed',
        ours: on(granaryMake()),
        peers: [
          {
            name: 'nix copy && sync -f',
            run: on(nixCopy('newest', 'compression=zstd', { flush: true })),
          },
        ],
      },
    ];
  },
  one: async () => [
    oneCase('make, one (1 GiB), zstd', makersOn(await oneFile(1024)), []),
    oneCase('make, one (96 MiB), xz', makersOn(await oneFile(96)), ['--compression', 'xz']),
  ],
  files: async () => {
    const on = makersOn(await smallFiles(50_000));
    return [
      {
        name: 'make, files (50,000)',
        ours: on(granaryMake('--no-flush')),
        peers: both('', on, 1),
      },
    ];
  },
  again: async () => {
    const corpus = await many(20_000);
    const [ours, theirs] = [join(scratch(), 'ours'), join(scratch(), 'theirs')];
    const copy = nixCopy('newest', 'compression=zstd');
    await granaryMake('--no-flush')(corpus, ours);
    await copy(corpus, theirs);
    return [
      {
        name: 'make again, 20,000 paths, nothing new',
        ours: () => granaryMake('--no-flush')(corpus, ours),
        peers: [{ name: 'nix copy again', run: () => copy(corpus, theirs), goal: { ratio: 1.5 } }],
        seconds: 1,
      },
    ];
  },
  verify: async () => {
    const corpus = await packages();
    const cache = join(scratch(), 'cache');
    await granaryMake()(corpus, cache);
    return [
      {
        name: 'verify, packages, all checks',
        ours: () => granary(['verify', cache]),
        peers: [
          {
            name: 'nix store verify --all (NarHash only)',
            run: () => nixVerify(corpus, cache),
            goal: { ratio: 1 },
          },
        ],
      },
    ];
  },
  quick: async () => {
    const corpus = await many(100_000);
    const cache = join(scratch(), 'cache');
    await granaryMake()(corpus, cache);
    const cat = 'find "$0" -name "*.narinfo" -print0 | xargs -0 cat > /dev/null';
    return [
      {
        name: 'verify --quick, 100,000 narinfos',
        ours: () => granary(['verify', '--quick', cache]),
        peers: [
          {
            name: 'cat of all of them',
            run: () => measured('cat', prefix => execute([...prefix, 'sh', '-c', cat, cache])),
            goal: { ratio: 6 },
          },
        ],
      },
    ];
  },
  copy: async () => {
    const corpus = await packages();
    const all: Case[] = [];
    for (const compression of ['zstd', 'none']) {
      const cache = join(scratch(), compression);
      await granaryMake('--compression', compression)(corpus, cache);
      const copy = (to: string, ...options: readonly string[]) =>
        granary(['copy', '--quiet', '--no-flush', '--from', cache, '--to', to, ...options]);
      const cp = (to: string) =>
        measured('cp', prefix => execute([...prefix, 'cp', '-r', cache, to]));
      all.push(
        {
          name: `copy, packages, ${compression}`,
          ours: to => copy(to),
          peers: [
            { name: 'cp -r', run: cp, goal: { ratio: 1.3 } },
            {
              name: 'nix copy',
              run: to => nixCopyCache(corpus, cache, to, `compression=${compression}`),
              goal: { ratio: 0.3 },
            },
          ],
        },
        {
          name: `copy --link, packages, ${compression}`,
          ours: to => copy(to, '--link'),
          peers: [{ name: 'cp -r', run: cp, goal: { ratio: 0.2 } }],
        },
      );
    }
    return all;
  },
  version: async () => [
    {
      name: 'granary --version',
      ours: () => granary(['--version']),
      peers: [
        {
          name: 'node -e 0',
          run: () => measured('node', prefix => execute([...prefix, process.execPath, '-e', '0'])),
          goal: { ratio: 2 },
        },
      ],
    },
  ],
};

type On = (maker: Maker) => Measure;

const makersOn =
  (corpus: Corpus): On =>
  maker =>
  to =>
    maker(corpus, to);

/** `nix copy` in its two ways; what counts is the better one. */
function both(flushed: string, on: On, ratio?: number): readonly Peer[] {
  const flush = flushed !== '';
  const goal = ratio === undefined ? {} : { goal: { ratio, best: 'nix copy' } };
  return [
    {
      name: `nix copy${flushed}`,
      run: on(nixCopy('newest', 'compression=zstd', { flush })),
      sizes: true,
      ...goal,
    },
    {
      name: `nix copy, parallel-compression${flushed}`,
      run: on(nixCopy('newest', 'compression=zstd&parallel-compression=true', { flush })),
      ...goal,
    },
  ];
}

const oneCase = (name: string, on: On, options: readonly string[]): Case => ({
  name,
  ours: on(granaryMake('--no-flush', '--jobs', '2', ...options)),
  peers: [
    {
      name: 'ours, --jobs 1',
      run: on(granaryMake('--no-flush', '--jobs', '1', ...options)),
      goal: { ratio: 0.58 },
    },
  ],
});
