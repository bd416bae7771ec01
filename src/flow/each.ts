/** Works on all items, at most `jobs` at once. The first failure stops every lane and is thrown. */
export async function each<T>(
  items: Iterable<T>,
  jobs: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = (function* () {
    yield* items;
  })(); // one iterator for all lanes: a throw in one closes it for the rest
  const lane = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  const ends = await Promise.allSettled(Array.from({ length: jobs }, lane));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
