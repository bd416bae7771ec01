/** `granary/verified.json`: what a check of the whole cache found, for those who get the cache later. */
import type { Storage } from '../storage/storage.ts';
import { bodyOf } from '../storage/storage.ts';
import { version } from '../version.ts';
import type { Verdict, VerifyOptions } from './verify.ts';

const verdictKey = 'granary/verified.json';

/** Leaves the verdict in the cache, at once and as a whole, in the place of an older one. */
export async function recordVerdict(
  storage: Storage,
  { totals }: Verdict,
  {
    quick,
    keys,
    sigsNeeded,
    also = [],
  }: Pick<VerifyOptions, 'quick' | 'keys' | 'sigsNeeded' | 'also'>,
): Promise<void> {
  const record = {
    version: 1,
    granary: version,
    time: new Date().toISOString(),
    checked: {
      nars: !quick,
      ...(keys.length === 0 ? {} : { trustedKeys: keys.map(key => key.text), sigsNeeded }),
      ...(also.length === 0 ? {} : { with: also.map(({ url }) => url) }),
    },
    ...totals,
  };
  const body = bodyOf(Buffer.from(`${JSON.stringify(record, null, 2)}\n`));
  await storage.publish([{ key: verdictKey, body }]);
}
