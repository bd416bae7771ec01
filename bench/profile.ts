/** `npm run bench -- profile`: where the CPU time of our own program goes, by case: a sum over its threads. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Corpus } from '../test/clients/corpus.ts';
import { scratch } from '../test/clients/kept.ts';
import { execute } from '../test/clients/process.ts';
import { many, oneFile, packages, smallFiles } from './corpora.ts';
import { builtProgram } from './peers.ts';

/** The fields of a V8 CPU profile that are read here. */
interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string };
  }[];
  readonly samples: readonly number[];
  /** µs */
  readonly timeDeltas: readonly number[];
}

const topLines = 8;

/** Prints a table a case. */
export async function profile(): Promise<void> {
  const program = await builtProgram();
  const make = (corpus: Corpus, to: string, ...options: readonly string[]): readonly string[] => [
    ...['make', '--quiet', '--no-flush', '--to', to, '--from', corpus.url],
    ...options,
    ...corpus.roots,
  ];
  const [first, second] = [join(scratch(), 'first'), join(scratch(), 'second')];
  const big = await packages();
  const tiny = await many(20_000);
  const cases: Readonly<Record<string, readonly string[]>> = {
    'make, packages, zstd': make(big, first),
    'make, packages, none': make(big, join(scratch(), 'none'), '--compression', 'none'),
    'make, many (2,000)': make(await many(2000), join(scratch(), 'many')),
    'make, one (1 GiB), zstd': make(await oneFile(1024), join(scratch(), 'one')),
    'make, files (50,000)': make(await smallFiles(50_000), join(scratch(), 'files')),
    'make, many (20,000)': make(tiny, second),
    'make again, 20,000 paths': make(tiny, second),
    'verify, packages': ['verify', first],
    'verify --quick, 20,000 narinfos': ['verify', '--quick', second],
  };
  for (const [name, args] of Object.entries(cases)) {
    const run = async (options: readonly string[], to = (arg: string) => arg): Promise<void> => {
      const argv = [...options, program, ...args.map(to)];
      const ran = await execute([process.execPath, ...argv], { env: process.env });
      if (ran.code !== 0) throw new Error(`Cannot profile ${name}: ${ran.stderr}`);
    };
    const target = args[args.indexOf('--to') + 1]!;
    if (args.includes('--to') && !existsSync(target))
      await run([], arg => (arg === target ? `${arg}-warm` : arg)); // for the file system's cache
    const dir = join(scratch(), 'profile');
    mkdirSync(dir);
    await run(['--cpu-prof', `--cpu-prof-dir=${dir}`]);
    print(
      name,
      readdirSync(dir).map(file => join(dir, file)),
    );
    rmSync(dir, { recursive: true });
  }
}

function print(name: string, files: readonly string[]): void {
  const times = new Map<string, number>();
  let busy = 0;
  for (const file of files) {
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8')) as Profile;
    const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
    for (const [at, id] of samples.entries()) {
      const what = names.get(id)!;
      if (what === '(idle)') continue;
      busy += timeDeltas[at]!;
      times.set(what, (times.get(what) ?? 0) + timeDeltas[at]!);
    }
  }
  const top = [...times].sort(([, a], [, b]) => b - a).slice(0, topLines);
  console.log(`\n${name}: ${(busy / 1e6).toFixed(2)} s in ${files.length} threads`);
  for (const [what, time] of top)
    console.log(`  ${((100 * time) / busy).toFixed(0).padStart(3)} %  ${what}`);
}

function nameOf({ functionName, url }: Profile['nodes'][number]['callFrame']): string {
  const file = /[^/]+\/[^/]+$/.exec(url.replace(/^node:/, 'node/'))?.[0];
  const name = functionName || '(anonymous)';
  return file === undefined ? name : `${name}  ${file}`;
}
