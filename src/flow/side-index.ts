/**
 * Which path a realisation or a debuginfo file belongs to: only its text tells, so those of the source are read in bulk,
 * but for what the target has already.
 */
import { readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import type { StorePath } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';
import { each } from './each.ts';
import { readsAtOnce } from './read-cache.ts';

/** What Nix writes there, and nothing else: the JSON of each says whose it is. */
const debugLinks = /^debuginfo\/[0-9a-f]{40}\.debug$/;
const realisations = [
  ['realisations/', /^realisations\/(sha256:[0-9a-f]{64}![A-Za-z0-9+._?=-]{1,211})\.doi$/],
  ['build-trace-v2/', /^build-trace-v2\/[A-Za-z0-9+._?=-]{1,215}\/[A-Za-z0-9+._?=-]{1,211}\.doi$/],
] as const;

/** Keys of the realisations of paths that are `wanted`, by base name. */
export async function realisedIn(
  source: Storage,
  target: Storage,
  wanted: ReadonlyMap<string, StorePath>,
): Promise<ReadonlyMap<StorePath, readonly string[]>> {
  const found = new Map<StorePath, string[]>();
  if (wanted.size === 0) return found;
  for (const [prefix, pattern] of realisations)
    await eachLacking(source, target, { prefix, pattern }, (key, text) => {
      const path = wanted.get(stringIn(text, 'outPath').replace(/^.*\//, ''));
      const [id, said] = [pattern.exec(key)![1], stringIn(text, 'id')];
      if (path === undefined || (id !== undefined && said !== '' && said !== id)) return;
      found.set(path, [...(found.get(path) ?? []), key]);
    });
  return found;
}

/** Keys of debuginfo files by the NAR files that they lead to. */
export async function debugKeysOf(
  source: Storage,
  target: Storage,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const keys = new Map<string, string[]>();
  const where = { prefix: 'debuginfo/', pattern: debugLinks };
  await eachLacking(source, target, where, (key, text) => {
    const url = archiveIn(text);
    keys.set(url, [...(keys.get(url) ?? []), key]);
  });
  return keys;
}

/** Keys of such a form below a prefix; none where they cannot be listed. */
export async function keysBelow(
  storage: Storage,
  prefix: string,
  pattern: RegExp,
): Promise<readonly string[]> {
  const keys: string[] = [];
  try {
    for await (const { key } of storage.list?.(prefix) ?? []) if (pattern.test(key)) keys.push(key);
  } catch (error) {
    if (!(error instanceof GranaryError && error.code === 'usage')) throw error;
    return []; // who may read a bucket may not always list it
  }
  return keys;
}

/** What was sent is none of it, and left where it is. */
export function unusable(error: unknown): undefined {
  if (!(error instanceof GranaryError && error.code === 'malformed')) throw error;
}

/** The NAR file that the text of a debuginfo file names. */
export const archiveIn = (text: string): string => stringIn(text, 'archive').replace(/^\.\.\//, '');

function stringIn(text: string, field: string): string {
  try {
    return String(JSON.parse(text)?.[field] ?? '');
  } catch {
    return '';
  }
}

/** Reads the files of the source that the target lacks, as far as one list of a target far away tells. */
async function eachLacking(
  source: Storage,
  target: Storage,
  { prefix, pattern }: { readonly prefix: string; readonly pattern: RegExp },
  use: (key: string, text: string) => void,
): Promise<void> {
  const keys = await keysBelow(source, prefix, pattern);
  if (keys.length === 0) return;
  const listed = new Set(target.isFar ? await keysBelow(target, prefix, pattern) : []);
  await each(keys, readsAtOnce(source), async key => {
    if (target.isFar ? listed.has(key) : await target.head(key)) return;
    const text = await readText(source, key).catch(unusable);
    if (text !== undefined) use(key, text);
  });
}
