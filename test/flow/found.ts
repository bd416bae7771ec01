/** What verify finds, for tests. */
import type { Finding } from '../../src/flow/findings.ts';
import { type VerifyOptions, verify } from '../../src/flow/verify.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import type { Storage } from '../../src/storage/storage.ts';

/** All that verify finds in a cache. */
export async function findingsIn(
  cache: string | Storage,
  options: Partial<VerifyOptions> = {},
): Promise<Finding[]> {
  const found: Finding[] = [];
  await verify(typeof cache === 'string' ? directoryStorage(cache) : cache, {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    jobs: 1,
    report: event => {
      if ('severity' in event) found.push(event);
    },
    ...options,
  });
  return found;
}

/** Their identifiers, sorted. */
export const idsOf = (found: readonly Finding[]): string[] => found.map(each => each.id).sort();
