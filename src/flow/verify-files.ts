/** Reads every NAR file of a cache once, large ones by themselves and small ones in groups, on all cores. */
import { getNar, listingKey } from '../cache/cache.ts';
import { checkNar, type NarFacts } from '../cache/nar-check.ts';
import { GranaryError } from '../errors.ts';
import { parseListing, printListing } from '../format/nar-listing.ts';
import type { BareInfo } from '../format/narinfo.ts';
import type { Storage, Thing } from '../storage/storage.ts';
import type { CheckPool } from './check-pool.ts';
import type { CheckResult, Unread } from './check-worker.ts';
import { type DebugLink, deadLink } from './debug-links.ts';
import { each } from './each.ts';
import { type Finding, finding } from './findings.ts';
import { isOwn } from './named-things.ts';
import { claimOf, narFindings } from './verify-nar.ts';
import { isAway, readSide } from './verify-narinfo.ts';

interface Files {
  readonly storage: Storage;
  readonly things: ReadonlyMap<string, Thing>;
  readonly infos: ReadonlyMap<string, BareInfo>;
  /** Debuginfo files that lead into NAR files, by the key of those. */
  readonly links: ReadonlyMap<string, readonly DebugLink[]>;
}

interface Target {
  readonly jobs: number;
  readonly pool: CheckPool;
  readonly tell: (found: Finding) => void;
  readonly progress: (progress: CheckProgress) => void;
}

/** How far the reading is, in sizes that the narinfos state. */
export interface CheckProgress {
  readonly narBytes: number;
  readonly totalNarBytes: number;
  readonly paths: number;
  readonly totalPaths: number;
}

/** All narinfos that name one file, and agree on how it is compressed. */
interface NarFile {
  readonly url: string;
  readonly infos: readonly BareInfo[];
}

/** Small files go to a thread together. */
const groupFiles = 64;
const groupBytes = 1 << 20;

/** Tells what is wrong with the NAR files and their listings; gives how much was read. */
export async function checkFiles(
  { storage, things, infos, links }: Files,
  { jobs, pool, tell, progress }: Target,
): Promise<{ readonly narFiles: number; readonly narBytes: number }> {
  const present = byFile(things, infos);
  const groups = () => grouped(filesOf(present), things);
  const totals = { groups: 0, narFiles: 0, totalNarBytes: 0 };
  for (const group of groups()) {
    totals.groups += 1;
    totals.narFiles += group.length;
    for (const { infos } of group) totals.totalNarBytes += infos[0]!.narSize;
  }
  const { narFiles, totalNarBytes } = totals;
  const done = { narBytes: 0, paths: 0 };
  let narBytes = 0;
  const claim = ({ url, infos }: NarFile) =>
    claimOf(infos, {
      listingLimit: infos.reduce(
        (most, { path }) => Math.max(most, things.get(listingKey(path))?.size ?? 0),
        0,
      ),
      members: links.get(url)?.map(link => link.member) ?? [],
    });
  const judge = async (file: NarFile, result: CheckResult): Promise<void> => {
    for (const info of file.infos) {
      if ('facts' in result) for (const found of narFindings(info, result.facts)) tell(found);
      else tell(unreadFinding(file, info, result));
      const facts = 'facts' in result ? result.facts : undefined;
      for await (const found of listingFindings(storage, things, info, facts)) tell(found);
    }
    if ('facts' in result) {
      for (const link of links.get(file.url) ?? [])
        if (!result.facts.fault && !result.facts.members.includes(link.member))
          tell(deadLink(link.key, `${link.url} has no file ${link.member}`));
      narBytes += result.facts.narSize ?? 0;
    }
    done.narBytes += file.infos[0]!.narSize;
    done.paths += file.infos.length;
    progress({ ...done, totalNarBytes, totalPaths: present.length });
  };

  if (storage.local && totals.groups > 1)
    await each(groups(), jobs, async group => {
      const tasks = group.map(file => ({ file: storage.local!(file.url), claim: claim(file) }));
      const results = await pool.files(tasks);
      for (const [at, result] of results.entries()) await judge(group[at]!, result);
    });
  else
    await each(filesOf(present), jobs, async file =>
      judge(file, await readFile(storage, file, claim(file))),
    );
  return { narFiles, narBytes };
}

/** A file that this thread reads: of a storage that is elsewhere, or too few for threads. */
async function readFile(
  storage: Storage,
  { url }: NarFile,
  claim: ReturnType<typeof claimOf>,
): Promise<CheckResult> {
  try {
    const found = await getNar(storage, url);
    if (!found) return { code: 'ENOENT', message: 'it went' };
    return { facts: await checkNar(found.bytes, claim) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined || (isOwn(url, storage) && isAway(storage, error))) throw error;
    return { code, message };
  }
}

function unreadFinding({ url }: NarFile, { path }: BareInfo, { code, message }: Unread): Finding {
  if (code === 'ENOENT')
    return finding('nar-missing', url, `${url} went away during the check`, path);
  return finding('unreadable', url, `${url} cannot be read: ${message}`, path);
}

/** Narinfos whose NAR file is there, largest files first; those of one file that agree on its label are neighbours. */
function byFile(
  things: ReadonlyMap<string, Thing>,
  infos: ReadonlyMap<string, BareInfo>,
): readonly BareInfo[] {
  const size = ({ file }: BareInfo): number => things.get(file.url)!.size;
  const present = [...infos.values()].filter(({ file }) => things.get(file.url)?.kind === 'value');
  return present.sort(
    (a, b) =>
      size(b) - size(a) ||
      compare(a.file.url, b.file.url) ||
      compare(a.file.compression, b.file.compression),
  );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** One file under two labels is read as both. */
function* filesOf(infos: readonly BareInfo[]): Generator<NarFile> {
  for (let at = 0; at < infos.length; ) {
    const { url, compression } = infos[at]!.file;
    let end = at + 1;
    while (infos[end]?.file.url === url && infos[end]!.file.compression === compression) end += 1;
    yield { url, infos: infos.slice(at, end) };
    at = end;
  }
}

function* grouped(
  files: Iterable<NarFile>,
  things: ReadonlyMap<string, Thing>,
): Generator<readonly NarFile[]> {
  let group: NarFile[] = [];
  let bytes = 0;
  for (const file of files) {
    group.push(file);
    bytes += things.get(file.url)!.size;
    if (group.length < groupFiles && bytes < groupBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

/** What is wrong with the listing of a path, if it has one; without `facts`, only by itself. */
export async function* listingFindings(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  { path }: BareInfo,
  facts?: NarFacts,
): AsyncGenerator<Finding> {
  const key = listingKey(path);
  if (things.get(key)?.kind !== 'value') return;
  const text = await readSide(storage, key);
  if (text === undefined) return;
  if (typeof text !== 'string') {
    yield text;
    return;
  }
  try {
    const stated = printListing(parseListing(text));
    if (facts?.listing !== undefined && stated !== facts.listing)
      yield finding(
        'listing-wrong',
        key,
        `${key} does not list what the NAR of ${path} holds`,
        path,
      );
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    yield finding('listing-malformed', key, error.message, path);
  }
}
