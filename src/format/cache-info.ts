/**
 * `nix-cache-info`: lines `Key: value`. The key is all before the first colon, the value is trimmed, a
 * line without a colon and an unknown key are nothing, and of two equal keys the last one counts. But
 * Nix looks at each as it comes: one bad Priority, or two StoreDirs that differ, and no Nix opens it.
 */
import { readable } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import type { StoreDir } from './store-path.ts';

/** What a client learns of a cache as a whole. */
export interface CacheInfo {
  /** As it stands there; a client with another store directory refuses the cache. */
  readonly storeDir?: string;
  readonly wantMassQuery: boolean;
  /** Lower is asked first. Nix takes 0 where none is given. */
  readonly priority: number;
}

/** @throws GranaryError `malformed` for a text with which no Nix can open the cache */
export function parseCacheInfo(text: string): CacheInfo {
  let storeDir: string | undefined;
  let wantMassQuery = false;
  let priority = 0;
  for (const { key, value } of linesOf(text)) {
    if (key === 'WantMassQuery') wantMassQuery = value === '1';
    else if (key === 'Priority') priority = parsePriority(value);
    else if (key === 'StoreDir') {
      if (storeDir !== undefined && storeDir !== value) {
        const dirs = `"${readable(storeDir)}" and "${readable(value)}"`;
        throw bad('StoreDir', `it names two store directories, ${dirs}`);
      }
      storeDir = value;
    }
  }
  return { ...(storeDir === undefined ? {} : { storeDir }), wantMassQuery, priority };
}

/** What a cache is to say of itself; what is left out stays as it is. */
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

/** The text without the lines for which no Nix opens the cache; all others stay as they are. */
export function soundCacheInfo(text: string, storeDir: StoreDir): string {
  const lines = linesOf(text).filter(({ key, value }) =>
    key === 'StoreDir' ? value !== storeDir : key === 'Priority' && !isPriority(value),
  );
  let sound = text;
  for (const { start, end } of lines.toReversed())
    sound = sound.slice(0, start) + sound.slice(end + 1);
  return sound;
}

function isPriority(text: string): boolean {
  try {
    parsePriority(text);
    return true;
  } catch {
    return false;
  }
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
      const value = trim(line.slice(colon + 1));
      lines.push({ key: line.slice(0, colon), value, start, end: start + line.length });
    }
    start += line.length + 1;
  }
  return lines;
}

/** Not String.trim: it takes more for blank than Nix does, such as the byte A0. */
function trim(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && ' \t\r'.includes(text[start]!)) start++;
  while (end > start && ' \t\r'.includes(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** As C++'s stoi: a number at the beginning, whatever follows; out of range it throws. */
function parsePriority(text: string): number {
  const [digits] = /^[ \t\n\v\f\r]*[+-]?\d+/.exec(text) ?? [];
  const value = Number(digits ?? Number.NaN);
  if (value >= -(2 ** 31) && value < 2 ** 31) return value;
  throw bad('Priority', `its Priority "${readable(text)}" is no number`);
}

const bad = (field: string, why: string): GranaryError =>
  new GranaryError(
    'malformed',
    `Cannot read nix-cache-info: ${why}, and Nix cannot open such a cache`,
    { field },
  );
