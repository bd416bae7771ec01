/** `granary/closed-by.json`: what has the references that a cache lacks, for whoever gets the cache: an array of names. */
import { readText } from '../cache/cache.ts';
import { bodyOf, type Storage } from '../storage/storage.ts';

export const closedByKey = 'granary/closed-by.json';

/** The caches and lists that are named; none where there is no such file, or another. */
export async function readClosedBy(storage: Storage): Promise<readonly string[]> {
  const text = await readText(storage, closedByKey);
  try {
    const names: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(names) ? names.filter(name => typeof name === 'string') : [];
  } catch {
    return [];
  }
}

/** Adds names to those that are there. */
export async function recordClosedBy(storage: Storage, names: readonly string[]): Promise<void> {
  const old = await readClosedBy(storage);
  const all = [...new Set([...old, ...names])].sort();
  if (all.length === old.length) return;
  await storage.publish([{ key: closedByKey, body: bodyOf(`${JSON.stringify(all, null, 2)}\n`) }]);
}
