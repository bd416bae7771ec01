/** The listing of a NAR, from its events. */
import type { ListingNode } from './nar-listing.ts';
import type { NarEvent } from './nar-wire.ts';

export class ListingBuilder {
  readonly #open: Map<string, ListingNode>[] = [];
  /** Undefined until the first event. */
  root: ListingNode | undefined;

  push(events: readonly NarEvent[]): void {
    for (const event of events) {
      if (event.type === 'end') this.#open.pop();
      else if (event.type === 'symlink')
        this.#add(event.name, { type: 'symlink', target: event.target });
      else if (event.type === 'file') {
        const { name, size, executable, offset: narOffset } = event;
        this.#add(name, { type: 'regular', size, executable, narOffset });
      } else if (event.type === 'directory') {
        const entries = new Map<string, ListingNode>();
        this.#add(event.name, { type: 'directory', entries });
        this.#open.push(entries);
      }
    }
  }

  #add(name: string, node: ListingNode): void {
    const folder = this.#open.at(-1);
    if (folder) folder.set(name, node);
    else this.root = node;
  }
}
