/**
 * What takes too long for every test run: `npm run soak -- NAME [--seed N] [--count N] [--pairs N]`. The
 * tests run a small sample of each.
 */
import { parseArgs } from 'node:util';

export interface SoakOptions {
  readonly seed: number;
  readonly count: number;
  /** How often what is measured runs, where a soak measures. */
  readonly pairs?: number;
  readonly print: (line: string) => void;
}

/** Prints what it saw; throws when something does not hold. */
export type Soak = (options: SoakOptions) => Promise<void>;

const soaks: Readonly<Record<string, { readonly count: number; load: () => Promise<Soak> }>> = {
  differential: {
    count: 8100,
    load: async () => (await import('../clients/differential.ts')).differential,
  },
  'faulty-copy': {
    count: 200,
    load: async () => (await import('./faulty-copy.ts')).faultyCopy,
  },
  kills: { count: 500, load: async () => (await import('./kills.ts')).kills },
  many: { count: 100_000, load: async () => (await import('./many.ts')).many },
  mirror: { count: 1_000_000, load: async () => (await import('./mirror.ts')).mirror },
  writers: { count: 50, load: async () => (await import('./writers.ts')).writers },
  memory: { count: 2048, load: async () => (await import('./memory.ts')).memory },
};

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { seed: { type: 'string' }, count: { type: 'string' }, pairs: { type: 'string' } },
    allowPositionals: true,
  });
  const soak = soaks[positionals[0] ?? ''];
  if (soak) {
    const start = Date.now();
    const run = await soak.load();
    await run({
      seed: Number(values.seed ?? 1),
      count: Number(values.count ?? soak.count),
      ...(values.pairs === undefined ? {} : { pairs: Number(values.pairs) }),
      print: line => console.log(line),
    });
    console.log(`soak ${positionals[0]}: passed in ${((Date.now() - start) / 1000).toFixed(0)} s`);
  } else {
    console.error(`Name one of: ${Object.keys(soaks).join(', ')}`);
    process.exitCode = 2;
  }
}
