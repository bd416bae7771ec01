/** Us and those that we are measured against, each as a program of its own that fills a new folder. */
import { once } from 'node:events';
import { copyFileSync, cpSync, createWriteStream, existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Corpus } from '../test/clients/corpus.ts';
import { kept, scratch } from '../test/clients/kept.ts';
import { type Nix, nix } from '../test/clients/nix.ts';
import { execute } from '../test/clients/process.ts';
import { repository } from '../test/granary.ts';
import { bundle } from '../tools/build.ts';
import { type Cost, measured } from './measure.ts';

/** Fills `to`, and tells what that cost. */
export type Maker = (corpus: Corpus, to: string) => Promise<Cost>;

/** The program as it is published: in few files, and with the packages that it needs. */
export async function builtProgram(): Promise<string> {
  const dir = scratch();
  await bundle(join(dir, 'dist'));
  cpSync(join(repository, 'bin'), join(dir, 'bin'), { recursive: true });
  copyFileSync(join(repository, 'package.json'), join(dir, 'package.json'));
  cpSync(join(repository, 'node_modules'), join(dir, 'node_modules'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  return join(dir, 'bin/granary.js');
}

let program: Promise<string> | undefined;

/** Runs `granary` by this very Node. */
export async function granary(
  args: readonly string[],
  wanted: readonly number[] = [0],
): Promise<Cost> {
  program ??= builtProgram();
  const file = await program;
  return measured(`granary ${args[0]}`, async prefix => {
    const ran = await execute([...prefix, process.execPath, file, ...args], { env: process.env });
    return wanted.includes(ran.code) ? { ...ran, code: 0 } : ran;
  });
}

export const granaryMake =
  (...options: readonly string[]): Maker =>
  ({ url, roots }, to) =>
    granary(['make', '--quiet', '--to', to, '--from', url, ...options, ...roots]);

/** `nix copy`, which never flushes; with `flush`, and then the file system. */
export const nixCopy =
  (age: 'oldest' | 'newest', parameters: string, { flush = false } = {}): Maker =>
  async (corpus, to) => {
    const peer = await nix(age);
    return nixCost(
      peer,
      corpus,
      ['copy', '--to', `file://${to}?${parameters}`, ...corpus.roots],
      flush ? to : undefined,
    );
  };

async function nixCost(
  peer: Nix,
  store: Corpus,
  args: readonly string[],
  flushed?: string,
): Promise<Cost> {
  const argv = peer.argv('nix', args);
  const all =
    flushed === undefined ? argv : ['sh', '-c', '"$@" && exec sync -f "$0"', flushed, ...argv];
  return measured(`nix ${args[0]}`, prefix =>
    execute([...prefix, ...all], { env: peer.environment(store), cwd: store.home }),
  );
}

/** Our own build of the processes of nixpkgs' script, on as many paths at once as there are cores. */
export const nixpkgsScript: Maker = async (corpus, to) => {
  const peer = await nix('newest');
  const job = JSON.stringify({
    paths: corpus.paths.map(corpus.real),
    to,
    nixStore: peer.argv('nix-store', []),
    nixHash: peer.argv('nix-hash', []),
  });
  const script = fileURLToPath(new URL('script-peer.ts', import.meta.url));
  return measured("nixpkgs' script", prefix =>
    execute([...prefix, process.execPath, script], {
      env: peer.environment(corpus),
      cwd: corpus.home,
      input: job,
    }),
  );
};

/** What no program can be faster than: zstd and SHA-256 alone, with both cores always busy. */
export async function floor(corpus: Corpus): Promise<Cost> {
  const nars = await allNars(corpus);
  const out = join(scratch(), 'out.zst');
  const cores = 2;
  let [cpuSeconds, peakMiB] = [0, 0];
  for (const argv of [
    ['zstd', '-q', '-3', `-T${cores}`, '-f', '-o', out, nars],
    ['openssl', 'dgst', '-sha256', nars],
    ['openssl', 'dgst', '-sha256', out],
  ]) {
    const cost = await measured(argv[0]!, prefix => execute([...prefix, ...argv]));
    cpuSeconds += cost.cpuSeconds;
    peakMiB = Math.max(peakMiB, cost.peakMiB);
  }
  return { seconds: cpuSeconds / cores, cpuSeconds, peakMiB };
}

/** One file of all NARs of a corpus. */
async function allNars(corpus: Corpus): Promise<string> {
  const dir = await kept(`nars-${corpus.root.slice(11, 43)}`, async dir => {
    const peer = await nix('newest');
    const file = createWriteStream(join(dir, 'nars'));
    for (const path of corpus.paths) {
      const dump = peer.start('nix-store', ['--dump', corpus.real(path)], { store: corpus });
      for await (const chunk of dump.stdout!) if (!file.write(chunk)) await once(file, 'drain');
    }
    file.end();
    await once(file, 'close');
  });
  const file = join(dir, 'nars');
  if (!existsSync(file) || statSync(file).size === 0)
    throw new Error(`Cannot dump the corpus into ${file}`);
  return file;
}

/** `nix store verify` of what a cache says of its NARs. */
export async function nixVerify(corpus: Corpus, cache: string): Promise<Cost> {
  return nixCost(await nix('newest'), corpus, [
    'store',
    'verify',
    '--store',
    `file://${cache}`,
    '--all',
    '--no-trust',
  ]);
}

/** `nix copy` of all of one cache to another. */
export async function nixCopyCache(
  corpus: Corpus,
  from: string,
  to: string,
  parameters: string,
): Promise<Cost> {
  return nixCost(await nix('newest'), corpus, [
    'copy',
    '--all',
    '--no-check-sigs',
    '--from',
    `file://${from}`,
    '--to',
    `file://${to}?${parameters}`,
  ]);
}
