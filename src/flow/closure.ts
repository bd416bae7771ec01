/** From roots to their closure: all that they refer to, references before referrers. */
import { GranaryError } from '../errors.ts';
import type { PathInfo } from '../format/path-info.ts';
import type { StorePath } from '../format/store-path.ts';
import type { Store } from '../store/store.ts';

/**
 * The closure of `roots`, each path after all its references.
 *
 * @throws GranaryError `absent` naming a root, or a reference, that the store lacks
 */
export async function closureOf(
  roots: readonly StorePath[],
  store: Store,
): Promise<readonly PathInfo[]> {
  const infos = store.closure ? await store.closure(roots) : await walk(roots, store);
  for (const root of roots) if (!infos.has(root)) throw noRoot(root, store);
  for (const info of infos.values())
    for (const reference of info.references)
      if (!infos.has(reference))
        throw new GranaryError(
          'absent',
          `Cannot find ${reference} in the store ${store.url}, though ${info.path} refers to it`,
          { path: reference, referrer: info.path },
        );
  return topological(infos);
}

/**
 * These paths alone, each after those of them that it refers to.
 *
 * @throws GranaryError `absent` naming one that the store lacks
 */
export async function infosOf(
  paths: readonly StorePath[],
  store: Store,
): Promise<readonly PathInfo[]> {
  const infos = new Map<StorePath, PathInfo>();
  for (const path of paths) {
    const info = await store.info(path);
    if (!info) throw noRoot(path, store);
    infos.set(path, info);
  }
  return topological(infos);
}

const noRoot = (root: StorePath, store: Store): GranaryError =>
  new GranaryError('absent', `Cannot find ${root} in the store ${store.url}`, { path: root });

async function walk(
  roots: readonly StorePath[],
  store: Store,
): Promise<ReadonlyMap<StorePath, PathInfo>> {
  const infos = new Map<StorePath, PathInfo>();
  const asked = new Set(roots);
  for (const path of asked) {
    const info = await store.info(path);
    if (!info) continue;
    infos.set(path, info);
    for (const reference of info.references) asked.add(reference);
  }
  return infos;
}

/** References before referrers; among equals, the order of the map. `onCircle` gets the paths of each circle, as each refers to the next. */
export function topological<Info extends Refers>(
  infos: ReadonlyMap<StorePath, Info>,
  onCircle: (circle: readonly StorePath[]) => void = refuseCircle,
): readonly Info[] {
  const order: Info[] = [];
  const state = new Map<StorePath, 'open' | 'done'>();
  for (const first of infos.values()) {
    const stack = state.has(first.path) ? [] : [{ info: first, next: 0 }];
    state.set(first.path, state.get(first.path) ?? 'open');
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const reference = top.info.references[top.next++];
      if (reference === undefined) {
        state.set(top.info.path, 'done');
        order.push(top.info);
        stack.pop();
        continue;
      }
      const info = infos.get(reference);
      if (!info || reference === top.info.path || state.get(reference) === 'done') continue;
      if (state.get(reference) === 'open') {
        const paths = stack.map(each => each.info.path);
        onCircle(paths.slice(paths.indexOf(reference)));
        continue;
      }
      state.set(reference, 'open');
      stack.push({ info, next: 0 });
    }
  }
  return order;
}

type Refers = Pick<PathInfo, 'path' | 'references'>;

function refuseCircle(circle: readonly StorePath[]): never {
  const [path] = circle;
  throw new GranaryError(
    'corrupt',
    `Cannot order the closure: ${path} and ${circle.at(-1)} refer to each other`,
    { path: path! },
  );
}
