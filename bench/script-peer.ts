/**
 * What nixpkgs' make-binary-cache runs, process by process: for each path, on all cores, a shell with
 * `nix-store --dump | zstd`, then `nix-hash --flat` of the result, then a narinfo. Reads its job as
 * JSON from standard input.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { each } from '../src/flow/each.ts';

const run = promisify(execFile);

interface Job {
  readonly paths: readonly string[];
  readonly to: string;
  /** Command lines that these programs are started by. */
  readonly nixStore: readonly string[];
  readonly nixHash: readonly string[];
}

const { paths, to, nixStore, nixHash } = JSON.parse(readFileSync(0, 'utf8')) as Job;
mkdirSync(join(to, 'nar'), { recursive: true });
writeFileSync(join(to, 'nix-cache-info'), 'StoreDir: /nix/store\n');
await each(paths, availableParallelism(), async path => {
  const part = join(to, 'nar', `${basename(path)}.part`);
  const pipe = 'out=$1; shift; "$@" | zstd -q -f -o "$out"';
  await run('sh', ['-c', pipe, 'sh', part, ...nixStore, '--dump', path]);
  const [hasher, ...words] = nixHash;
  const { stdout } = await run(hasher!, [...words, '--flat', '--type', 'sha256', '--base32', part]);
  const hash = stdout.trim();
  const url = `nar/${hash}.nar.zst`;
  const size = statSync(part).size;
  renameSync(part, join(to, url));
  writeFileSync(
    join(to, `${basename(path).slice(0, 32)}.narinfo`),
    `StorePath: ${path}\nURL: ${url}\nCompression: zstd\nFileHash: sha256:${hash}\nFileSize: ${size}\n`,
  );
});
