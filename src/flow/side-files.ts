/** What a cache keeps beside narinfos and NARs, and comes along with its paths: logs, debuginfo, realisations. */
import { readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import { baseName } from '../format/store-path.ts';
import { bodyOf, type Storage } from '../storage/storage.ts';
import { each } from './each.ts';

/** Where a file of a cache is not of one path alone, its JSON says of which. */
const realisations = ['realisations/', 'build-trace-v2/'] as const;

/** What some servers and networks answer to everything. */
const webPage = /^\s*<(!doctype|html)/i;

/** Requests at once, where each is a way to go. */
const jobs = 8;

/**
 * Copies those of some paths that the target has not; gives how many. What cannot be listed is only asked for by name.
 * `urls` says what the URL of a NAR file became.
 */
export async function copySideFiles(
  source: Storage,
  target: Storage,
  infos: readonly NarInfo[],
  urls: ReadonlyMap<string, string>,
): Promise<number> {
  const keys = new Set<string>();
  for (const { deriver } of infos) if (deriver) keys.add(`log/${baseName(deriver)}`);
  if (source.list) {
    const theirs = new Set(infos.map(({ file }) => file.url));
    const names = new Set(infos.map(({ path }) => baseName(path)));
    for (const key of await chosen(source, 'debuginfo/', text => theirs.has(archiveIn(text))))
      keys.add(key);
    for (const prefix of realisations)
      for (const key of await chosen(source, prefix, text => names.has(outPathIn(text))))
        keys.add(key);
  }
  let copied = 0;
  await each(keys, jobs, async key => {
    if (await target.head(key)) return;
    const text = await readText(source, key);
    if (text === undefined || webPage.test(text)) return;
    await target.put(key, bodyOf(key.startsWith('debuginfo/') ? relinked(text, urls) : text));
    copied += 1;
  });
  if (copied > 0) await target.publish([]); // makes them safe
  return copied;
}

/** The files below a prefix whose text it is. */
async function chosen(
  source: Storage,
  prefix: string,
  isIt: (text: string) => boolean,
): Promise<readonly string[]> {
  const keys: string[] = [];
  try {
    for await (const { key } of source.list!(prefix)) if (!key.endsWith('/KEEP')) keys.push(key);
  } catch (error) {
    if (!(error instanceof GranaryError && error.code === 'usage')) throw error;
    return []; // who may read a bucket may not always list it
  }
  const mine: string[] = [];
  await each(keys, jobs, async key => {
    const text = await readText(source, key);
    if (text !== undefined && isIt(text)) mine.push(key);
  });
  return mine.sort();
}

/** A debuginfo file that leads to where its NAR is now. */
function relinked(text: string, urls: ReadonlyMap<string, string>): string {
  const old = archiveIn(text);
  const url = urls.get(old) ?? old;
  return url === old ? text : JSON.stringify({ ...JSON.parse(text), archive: `../${url}` });
}

const archiveIn = (text: string): string => stringIn(text, 'archive').replace(/^\.\.\//, '');

/** A base name, or in older ones a store path. */
const outPathIn = (text: string): string => stringIn(text, 'outPath').replace(/^.*\//, '');

function stringIn(text: string, field: string): string {
  try {
    return String(JSON.parse(text)?.[field] ?? '');
  } catch {
    return '';
  }
}
