/** Debuginfo files: each leads from a build id to a regular file in a NAR. */
import type { Storage, Thing } from '../storage/storage.ts';
import { type Finding, finding } from './findings.ts';
import { readSide } from './verify-narinfo.ts';

/** A file of debuginfo/, and the file in a NAR that it leads to. */
export interface DebugLink {
  readonly key: string;
  /** The key of the NAR file. */
  readonly url: string;
  readonly member: string;
}

/** Where the debuginfo files lead, by NAR file; those that lead to none are told. */
export async function readDebugLinks(
  storage: Storage,
  things: ReadonlyMap<string, Thing>,
  tell: (found: Finding) => void,
): Promise<ReadonlyMap<string, readonly DebugLink[]>> {
  const links = new Map<string, DebugLink[]>();
  for (const { key, kind } of things.values()) {
    if (kind !== 'value' || !/^debuginfo\/.+\.debug$/.test(key)) continue;
    const text = await readSide(storage, key);
    if (text === undefined) continue; // it went while we looked
    const link = typeof text === 'string' ? parseDebugLink(key, text) : text;
    if ('severity' in link) tell(link);
    else if (things.get(link.url)?.kind !== 'value')
      tell(deadLink(key, `${link.url} is not there`));
    else {
      const those = links.get(link.url);
      if (those) those.push(link);
      else links.set(link.url, [link]);
    }
  }
  return links;
}

/** The finding that a debuginfo file is of no use. */
export const deadLink = (key: string, why: string): Finding =>
  finding('debuginfo-wrong', key, `${key} leads nowhere: ${why}`);

function parseDebugLink(key: string, text: string): DebugLink | Finding {
  const { archive, member } = jsonObject(text);
  const url = /^\.\.\/(.+)$/.exec(String(archive))?.[1];
  if (url !== undefined && typeof member === 'string') return { key, url, member };
  return deadLink(key, 'it names no archive and member');
}

function jsonObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
