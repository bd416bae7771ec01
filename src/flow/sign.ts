/** Adds, drops and rotates signatures over a whole cache or some closures. */
import { readText } from '../cache/cache.ts';
import { GranaryError } from '../errors.ts';
import { holds, type SecretKey, signWith } from '../format/key.ts';
import { type NarInfo, narInfoKey, parseNarInfo } from '../format/narinfo.ts';
import { withSignatures } from '../format/narinfo-edit.ts';
import { fingerprint, keyNameOf } from '../format/signature.ts';
import { type StorePath, storeDirOf } from '../format/store-path.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import type { Finding } from './findings.ts';
import { type VerifyOptions, verify } from './verify.ts';

export interface SignOptions {
  readonly keys: readonly SecretKey[];
  /** Names whose signatures go. */
  readonly drop: readonly string[];
  /** Only the closures of these; without it, everything. */
  readonly roots?: readonly string[];
  /** Signs what was not read and found whole. */
  readonly unverified: boolean;
  readonly jobs: number;
  readonly report: VerifyOptions['report'];
}

export interface SignSummary {
  /** Narinfos that were changed, and those that already were as they should be. */
  readonly changed: readonly StorePath[];
  readonly unchanged: number;
  /** Not signed: something is wrong with them. */
  readonly refused: readonly StorePath[];
}

/** Narinfos that are made safe on disk together, held in memory till then; each is replaced by itself, at once. */
const batchSize = 10_000;

/**
 * Changes signatures, and nothing else of a narinfo. What is damaged is not signed; dropping needs no proof.
 *
 * @throws GranaryError `conflict` when another key has signed under the name of one of ours
 */
export async function sign(storage: Storage, options: SignOptions): Promise<SignSummary> {
  const { keys, drop, roots, jobs, report } = options;
  const damaged = new Set<string>();
  await storage.sweep?.();
  const { infos: all } = await verify(storage, {
    quick: options.unverified || keys.length === 0,
    keys: [],
    sigsNeeded: 0,
    ...(roots === undefined ? {} : { roots }),
    jobs,
    report: event => {
      if ('severity' in event && event.severity === 'damage') damaged.add(narInfoKeyOf(event));
      report(event);
    },
  });
  const placed = [...all.keys()].filter(key => key === narInfoKey(all.get(key)!.path));
  for (const key of placed) if (!damaged.has(key)) checkNames(key, all.get(key)!, options);

  const changed: StorePath[] = [];
  const refused: StorePath[] = [];
  let unchanged = 0;
  const entries: Entry[] = [];
  for (const key of placed) {
    const info = all.get(key)!;
    const { path } = info;
    const text = await readText(storage, key);
    if (text === undefined) continue; // it went while we looked
    const said = fingerprint(info);
    if (fingerprintIn(text, path) !== said)
      throw new GranaryError(
        'conflict',
        `Cannot sign ${path}: somebody changed its narinfo after it was verified; run the same command again`,
        { key },
      );
    if (keys.length > 0 && damaged.has(key)) {
      refused.push(path); // and nothing is dropped: it would be left with neither key
      continue;
    }
    const signed = withSignatures(text, { add: keys.map(each => signWith(each, said)), drop });
    if (signed === text) {
      unchanged += 1;
      continue;
    }
    changed.push(path);
    entries.push({ key, body: bodyOf(signed) });
    if (entries.length >= batchSize) await storage.publish(entries.splice(0));
  }
  if (entries.length > 0) await storage.publish(entries);
  return { changed, unchanged, refused };
}

/** What a signature of this text would be of; nothing for a text that is no narinfo. */
function fingerprintIn(text: string, path: StorePath): string | undefined {
  try {
    return fingerprint(parseNarInfo(text, storeDirOf(path)));
  } catch (error) {
    if (error instanceof GranaryError) return undefined;
    throw error;
  }
}

/** The narinfo that a finding speaks against. */
const narInfoKeyOf = ({ key, path }: Finding): string =>
  path === undefined || key.endsWith('.narinfo') ? key : narInfoKey(path);

/** Two keys of one name: a client would believe only one of them, and not say why. */
function checkNames(key: string, info: NarInfo, { keys, drop }: SignOptions): void {
  for (const signature of info.signatures) {
    const name = keyNameOf(signature);
    const own = keys.filter(each => each.name === name);
    if (own.length === 0 || drop.includes(name)) continue;
    if (own.some(({ publicKey }) => holds(signature, publicKey, fingerprint(info)))) continue;
    throw new GranaryError(
      'conflict',
      `Cannot sign as "${name}": ${key} has a signature of that name that this key did not make, or not for what it says now; drop it with --drop ${name}, or sign under a new name`,
      { key, name },
    );
  }
}
