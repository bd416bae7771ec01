/**
 * What `verify` can find: one table of stable identifiers, each with its severity and what to do.
 *
 * `damage`: some supported Nix fails or gets wrong bytes, on a read-only mount too, or a stated hash or
 * size is untrue, or a plain copy of the directory would not be whole. `warning`: all else.
 */
import type { StorePath } from '../format/store-path.ts';

type Severity = 'damage' | 'warning';

const repack = 'run "granary repair" with a store or cache that has the path';
const remove = 'remove it, or run "granary repair"';

export const findingTable = {
  'cache-info-missing': ['damage', 'run "granary repair"'],
  'cache-info-malformed': ['damage', 'correct the line by hand'],
  'folder-missing': ['damage', 'run "granary repair", which makes it'],
  'folder-unkept': ['warning', 'run "granary repair", which puts a placeholder there'],
  unreadable: ['damage', 'mend its permissions or the disk, or run "granary repair"'],
  'narinfo-malformed': ['damage', repack],
  'narinfo-misnamed': ['damage', remove],
  'narinfo-foreign': ['damage', remove],
  'narinfo-read-otherwise': ['warning', 'run "granary repair", which writes it anew'],
  'url-unsafe': ['damage', repack],
  'url-query': ['damage', repack],
  'nar-missing': ['damage', repack],
  'file-size-wrong': ['damage', repack],
  'file-hash-wrong': ['damage', repack],
  'file-size-unstated': ['warning', repack],
  'compression-wrong': ['damage', repack],
  'compression-unread': ['warning', 'this version cannot read it; Nix may'],
  'data-malformed': ['damage', repack],
  'data-trailing': ['damage', repack],
  'nar-malformed': ['damage', repack],
  'nar-hash-wrong': ['damage', repack],
  'nar-size-wrong': ['damage', repack],
  'reference-missing': ['damage', `${repack}, or name the cache that has it by --with`],
  'reference-circle': ['damage', 'find out which of them refers wrongly, and put it in anew'],
  'ca-wrong': ['damage', repack],
  'signature-wrong': ['damage', 'run "granary sign" with --drop and its name, then sign anew'],
  'signature-missing': ['damage', 'run "granary sign"'],
  'nar-hash-conflict': ['damage', 'keep the narinfo that is right and remove the other'],
  'listing-malformed': ['damage', repack],
  'listing-wrong': ['damage', repack],
  'listing-orphan': ['warning', 'run "granary gc"'],
  'debuginfo-wrong': ['warning', remove],
  'log-orphan': ['warning', 'run "granary gc"'],
  'nar-orphan': ['warning', 'run "granary gc": another writer may be about to name it'],
  temporary: [
    'warning',
    'the next "granary make", "sign" or "repair" sweeps it, once its writer is gone',
  ],
  'not-a-file': ['damage', 'put the file itself there'],
  stranger: ['warning', 'move it elsewhere: it belongs to no cache'],
} as const satisfies Readonly<Record<string, readonly [Severity, string]>>;

export type FindingId = keyof typeof findingTable;

export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** The file that it is about. */
  readonly key: string;
  readonly path?: StorePath;
  /** A sentence without its full stop. */
  readonly message: string;
  readonly advice: string;
}

/** A sentence quotes what it is about, and that may be megabytes. */
const longest = 2000;

/** Makes a finding of the table's kind. Nothing that a cache holds gets to a terminal as a command. */
export function finding(id: FindingId, key: string, text: string, path?: StorePath): Finding {
  const [severity, advice] = findingTable[id];
  const shown = text.length > longest ? `${text.slice(0, longest)} …` : text;
  const message = shown.replace(/[\x00-\x1f\x7f-\x9f]/g, controlEscape);
  return { id, severity, key, ...(path === undefined ? {} : { path }), message, advice };
}

const controlEscape = (char: string): string =>
  `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
