/**
 * Debuginfo files (`debuginfo/<build id>.debug`): each leads from the build id of a program to the file in a NAR that
 * has its debug information. As Nix writes them:
 *
 *     {"archive":"../nar/FILE","member":"lib/debug/.build-id/xx/y…y.debug"}
 */
import type { ListingNode } from './nar-listing.ts';

/** The files with debug information in a NAR: paths in it. What lies elsewhere, or is a link, is none. */
export function debugMembersIn(root: ListingNode): readonly string[] {
  const members: string[] = [];
  const folder = 'lib/debug/.build-id';
  for (const [start, those] of entriesAt(root, folder.split('/'))) {
    if (!/^[0-9a-f]{2}$/.test(start)) continue;
    for (const [rest, { type }] of entriesAt(those, []))
      if (type === 'regular' && /^[0-9a-f]{38}\.debug$/.test(rest))
        members.push(`${folder}/${start}/${rest}`);
  }
  return members;
}

/** Where a cache keeps the debuginfo file of such a member. */
export const debugKey = (member: string): string =>
  `debuginfo/${member.split('/').slice(-2).join('')}`;

/** The text of the debuginfo file of a member of the NAR at `url`. */
export const printDebugLink = (url: string, member: string): string =>
  JSON.stringify({ archive: `../${url}`, member });

function entriesAt(
  root: ListingNode,
  names: readonly string[],
): Iterable<readonly [string, ListingNode]> {
  let node: ListingNode | undefined = root;
  for (const name of names) node = node?.type === 'directory' ? node.entries.get(name) : undefined;
  return node?.type === 'directory' ? node.entries : [];
}
