/** Adds, drops and rotates signatures over a whole cache or some closures. */
import { GranaryError } from '../errors.ts';
import type { SecretKey } from '../format/key.ts';
import { type BareInfo, narInfoKey } from '../format/narinfo.ts';
import { fingerprint } from '../format/signature.ts';
import type { StorePath } from '../format/store-path.ts';
import { bodyOf, type Entry, type Storage } from '../storage/storage.ts';
import { CheckPool, rootOf } from './check-pool.ts';
import type { Finding } from './findings.ts';
import { readsAtOnce } from './read-cache.ts';
import { type Signed, type SignWanted, signedIn } from './signed.ts';
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

/**
 * Narinfos that are made safe on disk together, held in memory till then; each is replaced by itself, at once.
 * ext4 without a journal slows down over many new files at once: 20,000 took 13 s by 10,000, and 9 by this.
 */
const batchSize = 2000;

/**
 * Changes signatures, and nothing else of a narinfo. What is damaged is not signed; dropping needs no proof.
 * Two at once over one narinfo can lose what one of them changed.
 *
 * @throws GranaryError `conflict` when another key has signed under the name of one of ours
 */
export async function sign(storage: Storage, options: SignOptions): Promise<SignSummary> {
  const { keys, drop, roots, jobs, report } = options;
  const damaged = new Set<string>();
  const disputed: string[] = [];
  const tell = (found: Finding): void => {
    if (found.id === 'signature-wrong') {
      disputed.push(found.key);
      return;
    }
    if (found.severity === 'damage') damaged.add(narInfoKeyOf(found));
    report(found);
  };
  await storage.sweep?.();
  const { infos, storeDir } = await verify(storage, {
    quick: options.unverified || keys.length === 0,
    keys: keys.filter(({ name }) => !drop.includes(name)).map(({ publicKey }) => publicKey),
    sigsNeeded: 0,
    ...(roots === undefined ? {} : { roots }),
    jobs,
    report: event => ('severity' in event ? tell(event) : report(event)),
  });
  const disputedKey = disputed.find(key => !damaged.has(key));
  if (disputedKey !== undefined) throw keyConflict(disputedKey, keys);
  const sound: [key: string, info: BareInfo][] = [];
  const refused: StorePath[] = [];
  for (const [key, info] of infos) {
    if (key !== narInfoKey(info.path)) continue;
    // Of what is refused nothing is dropped: it would be left with neither key.
    if (keys.length > 0 && damaged.has(key)) refused.push(info.path);
    else sound.push([key, info]);
  }
  const changed: StorePath[] = [];
  let unchanged = 0;
  const wanted = { storage, storeDir, keys, drop };
  await using pool = new CheckPool();
  for await (const batch of preparedBatches(sound, wanted, { jobs, pool })) {
    const entries: Entry[] = [];
    for (const { key, path, signed } of batch) {
      if (signed.state === 'other') throw changedMeanwhile(key, path);
      if (signed.state === 'same') unchanged += 1;
      if (signed.state !== 'new') continue; // or it went while we looked
      changed.push(path);
      entries.push({ key, body: bodyOf(signed.text), after: [] });
    }
    if (entries.length > 0) await storage.publish(entries);
  }
  return { changed, unchanged, refused };
}

interface Prepared {
  readonly key: string;
  readonly path: StorePath;
  readonly signed: Signed;
}

/** Prepares each batch while the one before it is published. */
async function* preparedBatches(
  sound: readonly (readonly [key: string, info: BareInfo])[],
  { storage, ...wanted }: SignWanted & { readonly storage: Storage },
  { jobs, pool }: { readonly jobs: number; readonly pool: CheckPool },
): AsyncGenerator<readonly Prepared[]> {
  const root = sound.length > batchSize ? rootOf(storage) : undefined; // fewer are done before a thread starts
  const prepare = async (at: number): Promise<readonly Prepared[]> => {
    const batch = sound.slice(at, at + batchSize);
    const lanes = storage.isFar ? readsAtOnce(storage) : jobs;
    const size = Math.ceil(batch.length / lanes);
    const shares = Array.from({ length: lanes }, (_, share) =>
      batch.slice(share * size, (share + 1) * size),
    );
    const prepared = await Promise.all(
      shares.map(async share => {
        const tasks = share.map(([key, info]) => ({ key, said: fingerprint(info) }));
        const signed = root
          ? await pool.signed({ root, tasks, ...wanted })
          : await signedIn(storage, tasks, wanted);
        return share.map(([key, { path }], at) => ({ key, path, signed: signed[at]! }));
      }),
    );
    return prepared.flat();
  };
  let next = prepare(0);
  for (let at = batchSize; at - batchSize < sound.length; at += batchSize) {
    const batch = await next;
    next = prepare(at);
    next.catch(() => {}); // told when it is asked for
    yield batch;
  }
}

const changedMeanwhile = (key: string, path: StorePath): GranaryError =>
  new GranaryError(
    'conflict',
    `Cannot sign ${path}: somebody changed its narinfo after it was verified; run the same command again`,
    { key },
  );

/** The narinfo that a finding speaks against. */
const narInfoKeyOf = ({ key, path }: Finding): string =>
  path === undefined || key.endsWith('.narinfo') ? key : narInfoKey(path);

/** Two keys of one name: a client would believe only one of them, and not say why. */
const keyConflict = (key: string, keys: readonly SecretKey[]): GranaryError => {
  const names = [...new Set(keys.map(({ name }) => name))];
  const drops = names.map(name => `--drop ${name}`).join(' or ');
  return new GranaryError(
    'conflict',
    `Cannot sign as "${names.join('" or "')}": ${key} has a signature of that name that this key did not make, or not for what it says now; drop it with ${drops}, or sign under a new name`,
    { key },
  );
};
