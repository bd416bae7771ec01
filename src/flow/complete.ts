/** Brings what belongs to paths that the target had already: they are not moved again for a log or a listing. */
import type { Storage } from '../storage/storage.ts';
import type { Beside } from './copy-plan.ts';
import { each } from './each.ts';
import { keepFailure, type Landing } from './landing.ts';
import { Patience } from './patience.ts';
import { readsAtOnce } from './read-cache.ts';

/** What cannot be read is kept in `failed`; what was written is safe once this is done. */
export async function completeAll(
  all: readonly Beside[],
  { source, storage, failed, beside }: Pick<Landing, 'source' | 'storage' | 'failed' | 'beside'>,
): Promise<void> {
  const patience = new Patience();
  const before = beside.copied;
  await each(all, lanes(source, storage), async ({ info, file }) => {
    try {
      await beside.complete(info, file);
      patience.answered();
    } catch (error) {
      keepFailure(error, info, { source, storage, failed, patience });
    }
  });
  if (beside.copied > before) await storage.publish([]); // puts alone survive no power cut
}

const lanes = (...storages: readonly Storage[]): number => Math.max(...storages.map(readsAtOnce));
