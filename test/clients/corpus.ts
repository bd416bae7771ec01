/**
 * Closures to make caches of, in stores that are kept for all tests: read them, change nothing.
 *
 * Nothing is built. Nix is told about finished paths (`nix-store --load-db`), or makes them itself
 * (`builtins.toFile`): neither needs privileges or namespaces. The oldest Nix does it, so that every
 * Nix, and `granary make --from local?root=DIR`, reads the database. Derivers are named and, as in
 * most stores, not there.
 */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import { each } from '../../src/flow/each.ts';
import { type DebianPath, makeDebianPaths } from './debian-paths.ts';
import { downloadDebs, loaded } from './debian-root.ts';
import { client, kept, remove } from './kept.ts';
import { type ClientStore, clientStore, nix } from './nix.ts';
import { execute, type Result } from './process.ts';

export interface Corpus extends ClientStore {
  /** The path, or the first of several, whose closures are all of the store. */
  readonly root: string;
  readonly roots: readonly string[];
  /** The closure, sorted. */
  readonly paths: readonly string[];
}

/** Debian's git and all that it needs: some 50 paths of real files, references and self-references. */
export const gitCorpus = (): Promise<Corpus> => debianCorpus('git', ['git']);

/** Debian packages and all that they need, a path each. */
export const debianCorpus = (name: string, packages: readonly string[]): Promise<Corpus> =>
  corpus(name, async store => {
    const work = join(store.dir, 'debs');
    mkdirSync(work);
    const made = await makeDebianPaths(await downloadDebs('trixie', packages, work), store.dir);
    remove(work);
    await register(made, store);
    return packages.map(name => made.find(one => one.package === name)!.path);
  });

/** One path, filled by `fill`, that refers to nothing. */
export const onePath = (name: string, fill: (dir: string) => Promise<void>): Promise<Corpus> =>
  corpus(name, async store => {
    const path = `/nix/store/${'1'.repeat(32)}-${name}`;
    mkdirSync(store.real(path), { recursive: true });
    await fill(store.real(path));
    await register([{ path, references: [] }], store);
    return [path];
  });

/** `count` tiny content-addressed paths and one that refers to them all. */
export const manyPaths = (count: number): Promise<Corpus> =>
  corpus(`many-${count}`, async store => {
    const leaf = `builtins.toFile ("leaf-" + toString i) ("content " + toString (i * 7919) + "\\n")`;
    const text = `builtins.toFile "many" (toString (builtins.genList (i: ${leaf}) ${count}))`;
    const oldest = await nix('oldest');
    const args = ['--eval', '--read-write-mode', '-E', text];
    return [JSON.parse(await oldest.check('nix-instantiate', args, { store }))];
  });

/**
 * Run a program of an installed Debian path by the loader and libraries of the paths beside it:
 * `runInstalled(store, `${git}/usr/bin/git`, ['--version'])`.
 */
export function runInstalled(
  store: ClientStore,
  program: string,
  args: readonly string[],
): Promise<Result> {
  const paths = readdirSync(store.real('/nix/store')).map(name => store.real(`/nix/store/${name}`));
  const argv = loaded(paths, store.real(program), basename(program));
  return execute([...argv, ...args], { user: client, env: { HOME: store.home } });
}

/** The name carries the recipe's own text: who edits it gets a new corpus. */
async function corpus(
  name: string,
  make: (store: ClientStore) => Promise<readonly string[]>,
): Promise<Corpus> {
  const recipe = createHash('sha256');
  for (const file of ['corpus.ts', 'debian-paths.ts'])
    recipe.update(readFileSync(new URL(file, import.meta.url)));
  const dir = await kept(`corpus-${name}-${recipe.digest('hex').slice(0, 8)}`, async part => {
    const store = clientStore(part);
    const roots = await make(store);
    const oldest = await nix('oldest');
    const paths = (await oldest.check('nix-store', ['-qR', ...roots], { store }))
      .trim()
      .split('\n');
    writeFileSync(
      join(part, 'corpus.json'),
      JSON.stringify({ root: roots[0], roots, paths: paths.sort() }),
    );
  });
  return { ...clientStore(dir), ...JSON.parse(readFileSync(join(dir, 'corpus.json'), 'utf8')) };
}

/** What Nix makes of everything that enters a store: its owner, modes and times. */
async function makeCanonical(dir: string): Promise<void> {
  const store = join(dir, 'nix/store');
  await execute(['find', store, '-mindepth', '1', '-exec', 'touch', '-hd', '@1', '{}', '+']);
  const paths = readdirSync(store).map(name => join(store, name));
  await execute(['chmod', '-R', 'ug-s,a=rX', ...paths]);
  if (client) await execute(['chown', '-hR', `${client.uid}:${client.gid}`, join(dir, 'nix')]);
}

type Registered = Pick<DebianPath, 'path' | 'references'>;

/** Makes finished paths known to the store. */
async function register(made: readonly Registered[], store: ClientStore): Promise<void> {
  await makeCanonical(store.dir);
  const lines: string[] = [];
  await each(made, 4, async one => {
    lines.push(await registration(one, store));
  });
  const oldest = await nix('oldest');
  await oldest.check('nix-store', ['--load-db'], { store, input: lines.join('') });
}

/** What `nix-store --load-db` reads: path, hash, size, deriver, references. */
async function registration({ path, references }: Registered, store: ClientStore): Promise<string> {
  const newest = await nix('newest');
  const dump = newest.start('nix-store', ['--dump', store.real(path)], { store });
  const ended = once(dump, 'close');
  const sum = createHash('sha256');
  let size = 0;
  for await (const chunk of dump.stdout!) {
    sum.update(chunk);
    size += chunk.length;
  }
  const [code] = await ended;
  if (code !== 0) throw new GranaryError('unavailable', `Cannot dump ${path}`, { code });
  const fields = [path, sum.digest('hex'), size, `${path}.drv`, references.length, ...references];
  return fields.map(field => `${field}\n`).join('');
}
