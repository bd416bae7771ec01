/**
 * `npm run build`: dist/, as the package has it. The command and each of its threads are one file each: 140 modules take a
 * command 30 ms more to load, and a thread 10. Names stay as they are, for the stack of a bug.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

const repository = dirname(import.meta.dirname);

/** What runs: the command, its threads, and the library. */
const entries = ['cli/main', 'flow/pack-worker', 'flow/check-worker', 'index'];

/** Makes the JavaScript of the package. */
export async function bundle(dist: string): Promise<void> {
  await build({
    absWorkingDir: repository,
    entryPoints: entries.map(name => `src/${name}.ts`),
    outdir: dist,
    entryNames: '[name]', // side by side: a thread is found beside the file that starts it
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node24',
    minifyWhitespace: true,
    minifySyntax: true,
    logLevel: 'warning',
  });
}

if (import.meta.main) {
  const dist = join(repository, 'dist');
  rmSync(dist, { recursive: true, force: true });
  await bundle(dist);
  const compiler = join(repository, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', dist], {
    cwd: repository,
    stdio: 'inherit',
  });
}
