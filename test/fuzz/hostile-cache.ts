/**
 * `verify`, whole, over a cache in memory that an enemy wrote: files changed by the grammar or bent,
 * taken away, added, under each other's names. Whatever it is, it is findings and never an error.
 */
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { folders, listingKey } from '../../src/cache/cache.ts';
import { GranaryError } from '../../src/errors.ts';
import { verify } from '../../src/flow/verify.ts';
import { hexOf, sha256 } from '../../src/format/hash.ts';
import { printListing } from '../../src/format/nar-listing.ts';
import { ListingBuilder } from '../../src/format/nar-listing-builder.ts';
import { NarReader } from '../../src/format/nar-read.ts';
import { narInfoKey, printNarInfo } from '../../src/format/narinfo.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName } from '../../src/format/store-path.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { checkKey, type Storage, type Thing } from '../../src/storage/storage.ts';
import { bent, noise } from '../mutants/bytes.ts';
import { cacheInfoMutant } from '../mutants/cache-info.ts';
import { jsonMutant } from '../mutants/json.ts';
import { below, pick, type Random, some } from '../mutants/mutant.ts';
import { narMutant, narSingles } from '../mutants/nar.ts';
import { narInfoMutant } from '../mutants/narinfo.ts';
import type { Target } from './target.ts';

/** Texts by their keys, as latin-1. */
type Files = Readonly<Record<string, string>>;

export const verifyTarget: Target = {
  name: 'verify',
  perRound: 20,
  limitMs: 30_000,
  grammar: random => {
    const files = some(random, attacks, 4).reduce(
      (before, attack) => attack(before, random),
      whole,
    );
    return JSON.stringify(files);
  },
  accepts: async input => {
    const { totals } = await verify(storageOf(filesOf(input)), {
      quick: false,
      keys: [],
      sigsNeeded: 0,
      jobs: 1,
      report: () => {},
    }).catch(error => {
      throw new Error('verify stopped', { cause: error });
    });
    return totals.damage === 0;
  },
};

const compress: Readonly<Record<'zstd' | 'gzip' | 'br' | 'none', (nar: Buffer) => Buffer>> = {
  zstd: nar => zstdCompressSync(nar),
  gzip: nar => gzipSync(nar),
  br: nar => brotliCompressSync(nar, { params: { 1: 1 } }),
  none: nar => nar,
};
const compressions = Object.keys(compress) as (keyof typeof compress)[];
const paths = ['1', '2', '3', '4'].map(digit =>
  parseBaseName(`${digit.repeat(32)}-path`, defaultStoreDir),
);

/** A cache with nothing wrong in it, save that no key made its signatures. */
const whole: Files = {
  'nix-cache-info': 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n',
  ...Object.fromEntries(folders.map(folder => [`${folder}/KEEP`, ''])),
  ...Object.assign(
    {},
    ...compressions.map((name, at) => filesOfPath(at, narSingles[at]!.bytes, name)),
  ),
};

/** The narinfo, listing, NAR file and debuginfo of a path that has this NAR. */
function filesOfPath(at: number, nar: string, compression: keyof typeof compress): Files {
  const file = compress[compression](Buffer.from(nar, 'latin1')).toString('latin1');
  const [fileHash, narHash] = [sha256(file), sha256(nar)];
  const url = `nar/${fileHash.slice('sha256:'.length)}.nar`;
  const path = paths[at]!;
  const info = {
    path,
    narHash,
    narSize: Math.max(1, nar.length),
    references: paths.slice(0, at + 1),
    signatures: [parseSignature(`fuzz-1:${'A'.repeat(86)}==`)],
  };
  const debug = `debuginfo/${hexOf(narHash).slice(0, 40)}.debug`;
  return {
    [narInfoKey(path)]: printNarInfo(info, { url, compression, fileHash, fileSize: file.length }),
    [url]: file,
    [listingKey(path)]: listingOf(nar) ?? '{}',
    [debug]: JSON.stringify({ archive: `../${url}`, member: 'a' }),
  };
}

function listingOf(nar: string): string | undefined {
  const [reader, builder] = [new NarReader(), new ListingBuilder()];
  try {
    builder.push(reader.push(Buffer.from(nar, 'latin1')));
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
  }
  return reader.done ? printListing(builder.root!) : undefined;
}

type Attack = (files: Files, random: Random) => Files;

const keyIn = (files: Files, random: Random, pattern = /./): string =>
  pick(
    random,
    Object.keys(files).filter(key => pattern.test(key)),
  ) ?? 'stray';

const strangeKeys = [
  ...['stray', '.hidden', 'nar/x', 'nar/../x', '../x', '/etc/passwd', 'nar', 'log/x.drv', 'a/b/c'],
  ...['x.narinfo', `${'5'.repeat(32)}.narinfo`, `${'5'.repeat(32)}.ls`, 'nix-cache-info/x', ''],
  ...['a\n\x1b[2J', '\xff\xfe', 'nar/x.tmp-host-1-1', 'nar/x.tmp.1.1', 'granary/verified.json'],
  ...['debuginfo/x.debug', `nar/${'x'.repeat(300)}`, 'constructor', '__proto__.narinfo'],
];

const attacks: readonly Attack[] = [
  (files, random) => ({
    ...files,
    [keyIn(files, random, /narinfo$/)]: narInfoMutant(random).bytes,
  }),
  (files, random) => ({ ...files, 'nix-cache-info': cacheInfoMutant(random).bytes }),
  (files, random) => ({
    ...files,
    ...filesOfPath(below(random, 4), narMutant(random).bytes, pick(random, compressions)),
  }),
  (files, random) => {
    const key = keyIn(files, random);
    return { ...files, [key]: bent(random, files[key] ?? '') };
  },
  (files, random) => {
    const key = keyIn(files, random, /narinfo$/);
    const [from, to] = [keyIn(files, random, /^nar/), pick(random, strangeKeys)];
    return { ...files, [key]: (files[key] ?? '').replace(from, () => to), [to]: files[from] ?? '' };
  },
  (files, random) => {
    const { [keyIn(files, random)]: _, ...others } = files;
    return others;
  },
  (files, random) => ({ ...files, [keyIn(files, random)]: files[keyIn(files, random)] ?? '' }),
  (files, random) => ({ ...files, [pick(random, strangeKeys)]: noise(random) }),
  (files, random) => {
    const key = keyIn(files, random, /\.(ls|debug)$/);
    const mutant = jsonMutant(random, parsed(files[key] ?? ''));
    return { ...files, [key]: JSON.stringify(mutant) };
  },
];

function parsed(text: string) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/** The files that an input stands for; one that is no list of files is one of them. */
function filesOf(input: string): Files {
  const files = parsed(input);
  const entries = Object.entries(files ?? {}).filter(([, text]) => typeof text === 'string');
  return entries.length > 0 ? (Object.fromEntries(entries) as Files) : { stray: input };
}

/** A storage that holds just these, whatever their keys are. */
function storageOf(files: Files): Storage {
  const values = new Map(
    Object.entries(files).map(([key, text]) => [key, Buffer.from(text, 'latin1')]),
  );
  const read = memoryStorage();
  return {
    ...read,
    get: async (key, span) => {
      const bytes = values.get(checkKey(key));
      const part = span ? bytes?.subarray(span.start, span.start + span.length) : bytes;
      return part && { size: part.length, bytes: [part] };
    },
    head: async key => {
      const bytes = values.get(checkKey(key));
      return bytes && { size: bytes.length };
    },
    inventory: async function* (): AsyncGenerator<Thing> {
      for (const folder of folders)
        if ([...values.keys()].some(key => key.startsWith(`${folder}/`)))
          yield { key: folder, kind: 'folder', size: 0 };
      for (const [key, { length }] of values) yield { key, kind: 'value', size: length };
    },
  };
}
