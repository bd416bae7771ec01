/** Publishing where each put is a way to go: several at once, and still none before what it may need. */
import type { Entry } from './storage.ts';

/**
 * Puts entries as `Storage.publish` has to: one that says what it comes `after` waits for these alone, any other
 * for all that stand before it. After a failure nothing new is begun.
 */
export async function putInOrder(
  entries: readonly Entry[],
  jobs: number,
  put: (entry: Entry) => Promise<void>,
): Promise<void> {
  const done = new Map<string, Promise<unknown>>();
  const queue = entries.values(); // one for all lanes: what an entry waits for was begun before it
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const entry of queue) {
      if (failed) return;
      const needed = entry.after?.flatMap(key => done.get(key) ?? []) ?? [...done.values()];
      const putting = Promise.all(needed)
        .then(() => put(entry))
        .then(() => entry.shown?.());
      done.set(entry.key, putting);
      await putting.catch(error => {
        failed = true;
        throw error;
      });
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: jobs }, lane));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
