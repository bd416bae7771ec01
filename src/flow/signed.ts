/** What becomes of narinfos that are signed: their new texts, and nothing is written. */
import { readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { type SecretKey, signWith } from '../format/key.ts';
import { parseNarInfo } from '../format/narinfo.ts';
import { withSignatures } from '../format/narinfo-edit.ts';
import { fingerprint } from '../format/signature.ts';
import type { StoreDir } from '../format/store-path.ts';
import type { Storage } from '../storage/storage.ts';

export interface SignWanted {
  readonly storeDir: StoreDir;
  readonly keys: readonly SecretKey[];
  /** Names whose signatures go. */
  readonly drop: readonly string[];
}

export interface SignTask {
  readonly key: string;
  /** The fingerprint that was found right, and is to be signed. */
  readonly said: string;
}

/** `same`: it is already as it should be · `gone`: it is not there · `other`: it says something else now */
export type Signed =
  | { readonly state: 'new'; readonly text: string }
  | { readonly state: 'same' | 'gone' | 'other' };

export async function signedIn(
  storage: Storage,
  tasks: readonly SignTask[],
  { storeDir, keys, drop }: SignWanted,
): Promise<readonly Signed[]> {
  const all: Signed[] = [];
  for (const { key, said } of tasks) {
    const old = await readText(storage, key);
    if (old === undefined) all.push({ state: 'gone' });
    else if (fingerprintIn(old, storeDir) !== said) all.push({ state: 'other' });
    else {
      const text = withSignatures(old, { add: keys.map(each => signWith(each, said)), drop });
      all.push(text === old ? { state: 'same' } : { state: 'new', text });
    }
  }
  return all;
}

/** What a signature of this text would be of; nothing for a text that is no narinfo. */
function fingerprintIn(text: string, storeDir: StoreDir): string | undefined {
  try {
    return fingerprint(parseNarInfo(text, storeDir));
  } catch (error) {
    if (error instanceof GranaryError) return undefined;
    throw error;
  }
}
