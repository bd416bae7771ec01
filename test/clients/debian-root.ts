/**
 * Packages of a Debian suite, and all that they need, unpacked into a directory: nothing is
 * installed on this machine, and neither root nor chroot is needed. apt works on private state, with
 * the mirror that the machine's own apt uses; programs run through the loader that they came with.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import { kept, remove } from './kept.ts';
import { execute } from './process.ts';

const machine = {
  x64: { triple: 'x86_64-linux-gnu', loader: 'ld-linux-x86-64.so.2' },
  arm64: { triple: 'aarch64-linux-gnu', loader: 'ld-linux-aarch64.so.1' },
}[process.arch as string];

/** A directory, kept for all tests, that holds the unpacked `packages` and what they need. */
export function debianRoot(suite: string, packages: readonly string[]): Promise<string> {
  return kept([suite, ...packages].join('-'), async root => {
    const work = join(root, 'debs');
    mkdirSync(work);
    for (const deb of await downloadDebs(suite, packages, work)) await unpackDeb(deb, root);
    remove(work);
  });
}

/** Download `packages` of `suite` and what they need into `work`, and name the files. */
export async function downloadDebs(
  suite: string,
  packages: readonly string[],
  work: string,
): Promise<string[]> {
  for (const dir of ['lists/partial', 'archives/partial'])
    mkdirSync(join(work, dir), { recursive: true });
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const signed = existsSync(keyring) ? `[signed-by=${keyring}] ` : '';
  writeFileSync(join(work, 'status'), '');
  writeFileSync(join(work, 'sources.list'), `deb ${signed}${mirror()} ${suite} main\n`);
  writeFileSync(join(work, 'apt.conf'), aptConf(work));
  await apt(work, ['update']);
  await apt(work, ['install', '-y', '--download-only', ...packages]);
  const archives = join(work, 'archives');
  const debs = readdirSync(archives).filter(name => name.endsWith('.deb'));
  return debs.sort().map(name => join(archives, name));
}

/** Unpack the files of one package below `dir`. */
export async function unpackDeb(deb: string, dir: string): Promise<void> {
  const { code, stderr } = await execute(['dpkg-deb', '-x', deb, dir]);
  if (code !== 0)
    throw new GranaryError('unavailable', `Cannot unpack ${deb}: ${stderr.trim()}`, { code });
}

/** How to start `program` by what lies below `roots`: their loader, name and libraries. */
export function loaded(roots: readonly string[], program: string, name: string): string[] {
  if (!machine)
    throw new GranaryError('unavailable', `Cannot run ${name}: no loader known for this processor`);
  // Some suites have no /usr merge in what they ship; bookworm's Nix and Ceph keep their libraries apart.
  const own = `usr/lib/${machine.triple}`;
  const places = [own, `lib/${machine.triple}`, 'usr/lib/nix', `${own}/ceph`];
  const libraries = roots
    .flatMap(root => places.map(place => join(root, place)))
    .filter(existsSync);
  const loader = libraries.map(dir => join(dir, machine.loader)).find(existsSync);
  if (!loader)
    throw new GranaryError('absent', `Cannot run ${name}: found no ${machine.loader} for it`);
  return [loader, '--argv0', name, '--library-path', libraries.join(':'), program];
}

/** The Debian mirror that the machine's apt names, in either of its two file formats. */
function mirror(): string {
  const parts = '/etc/apt/sources.list.d';
  const files = existsSync(parts) ? readdirSync(parts).map(name => join(parts, name)) : [];
  const uris = ['/etc/apt/sources.list', ...files]
    .filter(file => /\.(list|sources)$/.test(file) && existsSync(file))
    .flatMap(file => readFileSync(file, 'latin1').split('\n'))
    .filter(line => !/^\s*#/.test(line))
    .flatMap(line => line.match(/\bhttps?:\/\/\S+\/debian\/?(?=\s|$)/g) ?? []);
  if (uris[0]) return uris[0];
  throw new GranaryError('absent', "This machine's apt names no Debian mirror");
}

/** Private state, and none of the machine's hooks, which may want root. */
const aptConf = (work: string): string => `
Dir::State "${work}";
Dir::State::Lists "${work}/lists";
Dir::State::status "${work}/status";
Dir::Cache "${work}";
Dir::Cache::archives "${work}/archives";
Dir::Etc::sourcelist "${work}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "${work}";
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Debug::NoLocking "true";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
`;

async function apt(work: string, args: readonly string[]): Promise<void> {
  const argv = ['apt-get', '-qq', '-c', join(work, 'apt.conf'), ...args];
  const { code, stderr } = await execute(argv, { env: process.env });
  if (code === 0) return;
  throw new GranaryError('unavailable', `apt-get ${args[0]} failed: ${stderr.trim()}`, { code });
}
