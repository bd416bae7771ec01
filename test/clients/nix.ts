/**
 * Real Nix in tests: the versions that three Debian suites hold, whatever they are today, run
 * through their own loader as an ordinary user, with no state but that of a store made for the test.
 *
 *     const skip = await whyNoClients();
 *     test('…', { skip }, async () => {
 *       const newest = await nix('newest');
 *       const store = freshStore();
 *       await newest.check('nix-store', ['--realise', path], { store, config: 'substituters = …' });
 *       readFileSync(store.real(path));
 *     });
 */

import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GranaryError } from '../../src/errors.ts';
import { debianRoot, loaded } from './debian-root.ts';
import { client, scratch } from './kept.ts';
import { execute, type Result, start } from './process.ts';

/** The ages of Nix that Granary promises to serve, and the Debian suite that holds each. */
const suites = { oldest: 'bookworm', middle: 'trixie', newest: 'sid' } as const;

type Age = keyof typeof suites;
export const ages = Object.keys(suites) as readonly Age[];

/** A store of its own below `dir`: its paths are called /nix/store/…, and lie in dir/nix/store. */
export interface ClientStore {
  readonly dir: string;
  /** How Nix, and granary, address it: `local?root=DIR`. */
  readonly url: string;
  /** HOME of who works with it: what Nix remembers about caches. */
  readonly home: string;
  /** Where a path of it really lies. */
  real(path: string): string;
}

interface NixOptions {
  /** Default: a store that the runs of one Nix in one test process share. */
  readonly store?: ClientStore;
  /** Lines for NIX_CONFIG, after the harness' own. */
  readonly config?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** `client` (default) is never root; `self` is who runs the tests. */
  readonly as?: 'client' | 'self';
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  /** A program, with its first words, that runs it: one that measures, say. */
  readonly under?: readonly string[];
  /** Directories that are mounted read-only while the program runs. */
  readonly readOnly?: readonly string[];
}

export interface Nix {
  readonly age: Age;
  readonly suite: string;
  readonly version: string;
  /** The whole command line that `run` starts, for a program that starts Nix itself. */
  argv(program: string, args: readonly string[]): readonly string[];
  /** And its environment. */
  environment(store: ClientStore, config?: string): NodeJS.ProcessEnv;
  /** Run `nix`, `nix-store`, `nix-build` … to its end, whatever its exit status. */
  run(program: string, args: readonly string[], options?: NixOptions): Promise<Result>;
  /** The same; gives what it printed, and throws with its standard error unless it exits with 0. */
  check(program: string, args: readonly string[], options?: NixOptions): Promise<string>;
  /** The same, left running (`nix-daemon`): who starts it kills it. */
  start(program: string, args: readonly string[], options?: NixOptions): ChildProcess;
}

const opened = new Map<Age, Promise<Nix>>();

/** The oldest, the middle or the newest Nix. */
export function nix(age: Age): Promise<Nix> {
  const known = opened.get(age) ?? openNix(age);
  opened.set(age, known);
  return known;
}

/** Why tests of real clients cannot run here, for `skip`; false where they can. */
export async function whyNoClients(): Promise<string | false> {
  const tried = await Promise.allSettled(ages.map(nix));
  for (const end of tried) {
    if (end.status === 'fulfilled') continue;
    if (!(end.reason instanceof GranaryError)) throw end.reason;
    return `No Nix to test with: ${end.reason.message}`;
  }
  return false;
}

/** Why nothing can be mounted read-only here, for `skip`; false where it can. */
export async function whyNoReadOnlyMounts(): Promise<string | false> {
  const dir = scratch();
  const argv = [...mountedReadOnly([dir]), 'touch', join(dir, 'file')];
  const why = await execute(argv, { user: client }).then(
    ({ stderr }) => stderr.trim(),
    (error: Error) => error.message,
  );
  return /read-only/i.test(why) ? false : `Cannot mount read-only without root: ${why}`;
}

/** An empty store; it goes when the test process ends. */
export const freshStore = (): ClientStore => clientStore(scratch());

/** A store with the root `dir`, used with a HOME of its own. */
export function clientStore(dir: string): ClientStore {
  const home = scratch();
  // Nix's own hook would have to be started by our loader; this one leaves every build to Nix.
  const hook = '#!/bin/sh\necho "# decline-permanently" >&2\n';
  writeFileSync(join(home, 'build-hook'), hook, { mode: 0o755 });
  return { dir, url: `local?root=${dir}`, home, real: path => join(dir, path) };
}

/**
 * Install `path` from a cache as nixpkgs' manual tells the second host to. A `file://` cache is
 * mounted read-only meanwhile, and the client must be able to read it: make it in a `scratch()`.
 */
export async function installs(nix: Nix, asked: InstallOptions): Promise<Installed> {
  const { cache, path, options = [], store = freshStore(), ...rest } = asked;
  const readOnly = cache.startsWith('file:') ? [fileURLToPath(cache.replace(/\?.*/, ''))] : [];
  const manual = [
    ['--option', 'require-sigs', 'false'],
    ['--option', 'trusted-substituters', cache],
    ['--option', 'substituters', cache],
  ];
  const args = ['--realise', path, ...manual.flat(), ...options];
  await nix.check('nix-store', args, { readOnly, ...rest, store });
  return { store, real: store.real(path) };
}

interface InstallOptions extends NixOptions {
  readonly cache: string;
  readonly path: string;
  /** More of the command line; a later `--option` beats the manual's. */
  readonly options?: readonly string[];
}

interface Installed {
  /** The store that it is in: an empty one was made when none was given. */
  readonly store: ClientStore;
  /** Where the installed path really lies. */
  readonly real: string;
}

async function openNix(age: Age): Promise<Nix> {
  const suite = suites[age];
  const root = await debianRoot(suite, ['nix-bin']);
  const shared = freshStore();
  const argv = (program: string, args: readonly string[], options: NixOptions) => [
    ...(options.under ?? []),
    ...nixArgv(program, args, options),
  ];
  const nixArgv = (program: string, args: readonly string[], { readOnly = [] }: NixOptions) => [
    ...(readOnly.length > 0 ? mountedReadOnly(readOnly) : []),
    ...loaded([root], join(root, 'usr/bin/nix'), program),
    ...args,
  ];
  const how = ({ store = shared, config = '', as = 'client', ...rest }: NixOptions) => {
    const home = as === 'self' ? ownHome(store) : store.home;
    return {
      env: { ...environment(store, home, config), ...rest.env },
      cwd: rest.cwd ?? home,
      user: as === 'self' ? undefined : client,
      ...(rest.input !== undefined && { input: rest.input }),
    };
  };
  const run: Nix['run'] = (program, args, options = {}) =>
    execute(argv(program, args, options), how(options));
  const check: Nix['check'] = async (program, args, options) => {
    const { code, stdout, stderr } = await run(program, args, options);
    if (code === 0) return stdout;
    const command = [program, ...args].join(' ');
    throw new GranaryError('unavailable', `${age} Nix failed: ${command}\n${stderr}`, { code });
  };
  const version = /[\d.]+\S*$/.exec((await check('nix', ['--version'])).trim())?.[0];
  if (!version) throw new GranaryError('malformed', `Cannot read the version of the ${age} Nix`);
  return {
    age,
    suite,
    version,
    argv: (program, args) => nixArgv(program, args, {}),
    environment: (store, config = '') => environment(store, store.home, config),
    run,
    check,
    start: (program, args, options = {}) => start(argv(program, args, options), how(options)),
  };
}

/** All that Nix may know: where its state is, and never a cache of its own choosing. */
function environment(store: ClientStore, home: string, config: string): NodeJS.ProcessEnv {
  return {
    PATH: '/usr/bin:/bin',
    HOME: home,
    XDG_CACHE_HOME: join(home, '.cache'),
    XDG_CONFIG_HOME: join(home, '.config'),
    XDG_DATA_HOME: join(home, '.local/share'),
    XDG_STATE_HOME: join(home, '.local/state'),
    TMPDIR: home,
    NIX_CONF_DIR: home,
    NIX_STATE_DIR: join(store.dir, 'nix/var/nix'),
    NIX_REMOTE: store.url,
    NIX_CONFIG: [
      'experimental-features = nix-command',
      'substituters =',
      'build-users-group =',
      `build-hook = ${join(store.home, 'build-hook')}`,
      'sandbox-paths = /bin /usr /lib /lib64?',
      config,
    ].join('\n'),
  };
}

/** Nix turns to the real home of a user who does not own HOME. */
function ownHome(store: ClientStore): string {
  const home = join(store.home, 'self');
  mkdirSync(home, { recursive: true });
  return home;
}

const mountScript = `
while [ "$1" != -- ]; do
  mount --bind "$1" "$1" || exit 125
  mount -o remount,bind,ro "$1" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$1" || exit 125
  shift
done
shift
exec "$@"`;

/** Before a command line: its own view of the mounts, as an ordinary user, with `dirs` read-only. */
const mountedReadOnly = (dirs: readonly string[]): string[] => [
  ...['unshare', '-Urm', '/bin/sh', '-c', mountScript, 'sh'],
  ...dirs,
  '--',
];
