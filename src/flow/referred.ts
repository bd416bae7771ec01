/** What is referred to and does not move has to be somewhere already. */
import { GranaryError } from '../errors.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { StorePath } from '../format/store-path.ts';
import { each } from './each.ts';
import { type Exclusion, isElsewhere } from './exclude.ts';

interface Known {
  readonly present: Set<StorePath>;
  readonly excluded: Set<StorePath>;
}

interface Places {
  /** Whose paths they are, as messages name it. */
  readonly source: string;
  /** What the target has of a path. */
  readonly there: (path: StorePath) => Promise<NarInfo | string | undefined>;
  readonly exclude: Exclusion;
  /** Questions at once. */
  readonly atOnce: number;
}

/**
 * Adds what `infos` refer to beyond themselves to what is `present` in the target, or else to what is `excluded`.
 *
 * @throws GranaryError `absent` for a reference that is in neither
 */
export async function addReferred(
  infos: ReadonlyMap<StorePath, Pick<PathInfo, 'path' | 'references'>>,
  { present, excluded }: Known,
  { source, there, exclude, atOnce }: Places,
): Promise<void> {
  const referrers = new Map<StorePath, StorePath>();
  for (const { path, references } of infos.values())
    for (const reference of references)
      if (!infos.has(reference) && !present.has(reference) && !excluded.has(reference))
        referrers.set(reference, path);
  await each(referrers, atOnce, async ([reference, path]) => {
    const found = await there(reference);
    if (typeof found === 'object' && found.path === reference) present.add(reference);
    else if (await isElsewhere(reference, exclude)) excluded.add(reference);
    else throw lacking(path, reference, source);
  });
}

/** Nobody may have a path without what it refers to. */
const lacking = (path: StorePath, reference: StorePath, source: string): GranaryError =>
  new GranaryError(
    'absent',
    `Cannot copy ${path} from ${source}: it refers to ${reference}, which neither comes along nor is in the target; name a cache that has it by --with`,
    { path: reference, referrer: path },
  );
