/** From where content is to its NAR. */
import type { ListingNode } from '../format/nar-listing.ts';
import { dumpNar } from './daemon.ts';
import { Daemon } from './daemon-connection.ts';
import { type DumpOptions, dumpTree } from './filesystem.ts';
import type { Content } from './store.ts';

type NarOf = (
  content: Content,
  options: DumpOptions,
) => Generator<Buffer, ListingNode> | AsyncGenerator<Buffer, ListingNode | undefined>;

/**
 * Reads NARs as `dumpTree` and `dumpNar` do. Whoever opens it has a connection of his own to a daemon, which has a
 * process of its own for each.
 */
export function openContents(): NarOf {
  const daemons = new Map<string, Daemon>();
  return (content, options) => {
    if ('tree' in content) return dumpTree(content.tree, options);
    const daemon = daemons.get(content.daemon) ?? new Daemon(content.daemon);
    daemons.set(content.daemon, daemon);
    return dumpNar(content.path, daemon, options);
  };
}
