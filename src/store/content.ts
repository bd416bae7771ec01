/** From where content is to its NAR. */
import type { ListingNode } from '../format/nar-listing.ts';
import type { Daemon } from './daemon-connection.ts';
import { type DumpOptions, dumpTree } from './filesystem.ts';
import type { Remote } from './ssh-connection.ts';
import type { Content } from './store.ts';

type NarOf = (
  content: Content,
  options: DumpOptions,
) => Promise<Generator<Buffer, ListingNode> | AsyncGenerator<Buffer, ListingNode | undefined>>;

/**
 * Reads NARs as `dumpTree` and `dumpNar` do. Whoever opens it has a connection of his own to a daemon or another machine,
 * where each has a process of its own. What only those need is loaded by the first: it is a third of what a thread has to load.
 */
export function openContents(): NarOf {
  const daemons = new Map<string, Daemon>();
  const remotes = new Map<string, Remote>();
  return async (content, options) => {
    if ('tree' in content) return dumpTree(content.tree, options);
    if ('ssh' in content) {
      const { dumpRemote } = await import('./ssh.ts');
      const { Remote } = await import('./ssh-connection.ts');
      const { url } = content.ssh;
      const remote = remotes.get(url) ?? new Remote(content.ssh);
      remotes.set(url, remote);
      return dumpRemote(content.path, remote, options);
    }
    const { dumpNar } = await import('./daemon.ts');
    const { Daemon } = await import('./daemon-connection.ts');
    const daemon = daemons.get(content.daemon) ?? new Daemon(content.daemon);
    daemons.set(content.daemon, daemon);
    return dumpNar(content.path, daemon, options);
  };
}
