/**
 * `nix-cache-info`: lines `Key: value`. The key is all before the first colon, the value is trimmed, a
 * line without a colon and an unknown key are nothing, and of two equal keys the last one counts.
 */
import { GranaryError } from '../errors.ts';
import type { StoreDir } from './store-path.ts';

export interface CacheInfo {
  /** As it stands there; a client with another store directory refuses the cache. */
  readonly storeDir?: string;
  readonly wantMassQuery: boolean;
  /** Lower is asked first. Nix takes 0 where none is given. */
  readonly priority: number;
}

/** @throws GranaryError `malformed` for a Priority with which Nix cannot open the cache at all */
export function parseCacheInfo(text: string): CacheInfo {
  const values = new Map(linesOf(text).map(({ key, value }) => [key, value]));
  const storeDir = values.get('StoreDir');
  return {
    ...(storeDir === undefined ? {} : { storeDir }),
    wantMassQuery: values.get('WantMassQuery') === '1',
    priority: parsePriority(values.get('Priority') ?? '0'),
  };
}

export interface CacheInfoValues {
  readonly storeDir: StoreDir;
  readonly priority?: number;
  readonly wantMassQuery?: boolean;
}

/** The text with these values in it: lines that say so already, and all others, stay as they are. */
export function withCacheInfo(text: string | undefined, values: CacheInfoValues): string {
  const { storeDir, priority, wantMassQuery } = values;
  let changed = withValue(text ?? '', 'StoreDir', storeDir);
  if (wantMassQuery !== undefined)
    changed = withValue(changed, 'WantMassQuery', wantMassQuery ? '1' : '0');
  if (priority !== undefined) changed = withValue(changed, 'Priority', String(priority));
  return changed;
}

function withValue(text: string, key: string, value: string): string {
  const last = linesOf(text).findLast(line => line.key === key);
  if (last?.value === value) return text;
  const line = `${key}: ${value}`;
  if (last) return text.slice(0, last.start) + line + text.slice(last.end);
  return `${text}${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`;
}

interface Line {
  readonly key: string;
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

function linesOf(text: string): Line[] {
  const lines: Line[] = [];
  let start = 0;
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon >= 0) {
      const value = line.slice(colon + 1).replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, '');
      lines.push({ key: line.slice(0, colon), value, start, end: start + line.length });
    }
    start += line.length + 1;
  }
  return lines;
}

/** As C++'s stoi: a number at the beginning, whatever follows; out of range it throws. */
function parsePriority(text: string): number {
  const [digits] = /^[ \t\n\v\f\r]*[+-]?\d+/.exec(text) ?? [];
  const value = Number(digits ?? Number.NaN);
  if (value >= -(2 ** 31) && value < 2 ** 31) return value;
  throw new GranaryError(
    'malformed',
    `Cannot read nix-cache-info: its Priority "${text}" is no number, and Nix cannot open such a cache`,
    { field: 'Priority' },
  );
}
