/**
 * A store known by a references graph: what works inside the build sandbox, where there is no
 * database. The graph has no derivers and no signatures; content lies in the store directory.
 */
import { join } from 'node:path';
import { latin1 } from '../bytes.ts';
import type { ReferencesGraph } from '../format/references-graph.ts';
import { baseName, hashPart } from '../format/store-path.ts';
import type { LocalPlaces } from './local.ts';
import { pathWithin } from './roots.ts';
import type { Store } from './store.ts';

/** `name` is the graph's, for messages. */
export function graphStore(name: string, graph: ReferencesGraph, places: LocalPlaces): Store {
  const { storeDir, real } = places;
  const infos = new Map(graph.infos.map(info => [info.path, info]));
  return {
    url: name,
    storeDir,
    info: async path => infos.get(path),
    advice: () => 'it changed while it was read; run the same command again',
    byHashPart: async hash => [...infos.values()].find(({ path }) => hashPart(path) === hash),
    content: path => ({ tree: join(latin1(Buffer.from(real)), baseName(path)) }),
    pathOf: file => pathWithin(file, storeDir, storeDir) ?? pathWithin(file, real, storeDir),
  };
}
