/**
 * The laws of a cache, judged from its files: what a command may change, however it ends.
 *
 * 1, 4: no narinfo gets there, or comes to be, that names a NAR which is not there and right.
 * 2, 3: nor one that refers to what has no sound narinfo.
 * And what was sound stays sound and signed, `verify` finds no new damage, and what is new and nothing refers to
 * is a NAR or a listing (6).
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { GranaryError } from '../../src/errors.ts';
import { each } from '../../src/flow/each.ts';
import type { Finding } from '../../src/flow/findings.ts';
import { hashOf } from '../../src/format/hash.ts';
import { type NarInfo, narInfoKey, parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { seeded } from '../random.ts';
import { Disk, type Fault, type Files, faultAt, faultsOf, recorder, type Step } from './faulty.ts';
import { findingsIn } from './found.ts';

/** Power cuts after each fault, as file systems with a journal leave them and as others may. */
const cuts = Array.from({ length: 16 }, (_, seed) => ({ seed, journal: seed % 2 === 0 }));
/** After so many of them the command is run again. */
const reruns = 4;

/** A command, and the files that it finds. */
export interface Case {
  readonly before: Files;
  readonly command: (storage: Storage) => Promise<unknown>;
  /** Signatures that the command takes away. */
  readonly dropped?: RegExp;
  /** Signatures that go where a narinfo cannot be read, and the command can do without. */
  readonly unread?: RegExp;
}

/**
 * Proves that a command may fail at any of its steps: it says so, leaves what is lawful, also if the power
 * is cut then, and the same command ends what is left to do.
 */
export async function assertSafe({ before, command, dropped, unread }: Case): Promise<void> {
  const disk = await Disk.holding(before);
  const { steps, gate } = recorder();
  await command(disk.storage(gate));
  const complete = withoutOrphans(disk.files);
  const known = new Set<string>();

  /** The same command, run on these files, ends as if nothing had happened. */
  const assertCompletes = async (files: Files): Promise<void> => {
    const digest = digestOf(files);
    if (known.has(digest)) return;
    known.add(digest);
    assert.deepEqual(withoutOrphans(await after(files, command)), complete, 'the next run');
  };

  const fail = async (at: number, step: Step, fault: Fault): Promise<void> => {
    const disk = await Disk.holding(before);
    const error = await command(disk.storage(faultAt(at, fault))).then(
      () => undefined,
      reason => reason,
    );
    const isDone = error === undefined;
    const mayGo = isDone ? (unread ?? dropped) : dropped;
    await assertLawful(before, disk.files, { holes: false, dropped: mayGo });
    if (isDone) {
      assert.equal(step.does, 'read', 'told as done'); // what cannot be read is a finding
      return;
    }
    assert.ok(error instanceof GranaryError, `it is no GranaryError: ${error}`);
    assert.equal(error.code, 'unavailable');
    await assertCompletes(disk.files);
    for (const { seed, journal } of cuts) {
      const rest = disk.afterPowerCut(seeded(seed * 1000 + at), { journal });
      await assertLawful(before, rest, { holes: !journal, dropped });
      if (seed < reruns) await assertCompletes(rest);
    }
  };

  const failures = steps.flatMap((step, at) => faultsOf(step).map(fault => ({ at, step, fault })));
  await each(failures, 2, async ({ at, step, fault }) => {
    try {
      await fail(at, step, fault);
    } catch (cause) {
      const when = `Step ${at} (${step.does} "${step.key}") ${fault}`;
      throw new Error(`${when}: ${(cause as Error).message}`, { cause });
    }
  });
}

/** What a command leaves of these files. */
export async function after(files: Files, command: Case['command']): Promise<Files> {
  const disk = await Disk.holding(files);
  await command(disk.storage());
  return disk.files;
}

/** The files but for listings that no narinfo stands beside: those go by gc. */
export const withoutOrphans = (files: Files): Files =>
  new Map(
    [...files].filter(([key]) => !key.endsWith('.ls') || files.has(key.replace(/ls$/, 'narinfo'))),
  );

interface Judgement {
  /** Keys of narinfos that are not what they say, or whose NAR is not there and right. */
  readonly wrong: readonly string[];
  /** Keys of narinfos that are wrong, or that lead to one that is wrong or is not there. */
  readonly unsound: readonly string[];
  readonly sound: ReadonlyMap<string, NarInfo>;
  /** What `verify` finds damaged, but for holes: the narinfo that it is about, or else the file. */
  readonly damaged: readonly string[];
  /** Narinfos that it misses. */
  readonly holes: readonly string[];
  /** All else that it finds. */
  readonly warnings: readonly string[];
}

export interface Leave {
  /** Whether the file system, without a journal, may keep a referrer and lose its reference. */
  readonly holes: boolean;
  /** Signatures that may go. */
  readonly dropped?: RegExp | undefined;
}

/** Proves that a command which found `before` may leave `after`. */
export async function assertLawful(before: Files, after: Files, leave: Leave): Promise<void> {
  const [old, now] = [await judged(before), await judged(after)];
  const law = leave.holes ? 'wrong' : 'unsound';
  assert.deepEqual(without(now[law], old[law]), [], `narinfos that are ${law} now`);
  for (const [key, { signatures }] of old.sound) {
    const info = leave.holes ? infoIn(after.get(key)) : now.sound.get(key);
    assert.ok(info, `${key} was sound, and is lost`);
    const kept = signatures.filter(signature => !leave.dropped?.test(signature));
    assert.deepEqual(without(kept, info.signatures), [], `signatures of ${key} that are lost`);
  }
  const ill = [...old.damaged, ...old.holes];
  assert.deepEqual(without(now.damaged, ill), [], 'new damage');
  if (!leave.holes) assert.deepEqual(without(now.holes, ill), [], 'new holes');
  const strays = without(now.warnings, old.warnings);
  assert.deepEqual(
    strays.filter(found => !/^(nar|listing)-orphan /.test(found)),
    [],
    'strays',
  );
}

const without = (all: readonly string[], some: readonly string[]): readonly string[] =>
  all.filter(each => !some.includes(each));

const judgements = new Map<string, Promise<Judgement>>();

function judged(files: Files): Promise<Judgement> {
  const digest = digestOf(files);
  const known = judgements.get(digest) ?? judge(files);
  judgements.set(digest, known);
  return known;
}

async function judge(files: Files): Promise<Judgement> {
  const all = [...files.keys()].filter(key => /^[^/]+\.narinfo$/.test(key));
  const sound = new Map<string, NarInfo>();
  for (const key of all) {
    const info = infoIn(files.get(key));
    if (info && key === narInfoKey(info.path) && isTrue(info, files)) sound.set(key, info);
  }
  const wrong = all.filter(key => !sound.has(key));
  for (let size = -1; size !== sound.size; ) {
    size = sound.size;
    for (const [key, info] of sound)
      if (!info.references.every(path => sound.has(narInfoKey(path)))) sound.delete(key);
  }
  const findings = await findingsIn((await Disk.holding(files)).storage());
  const damage = findings.filter(({ severity }) => severity === 'damage');
  const isHole = ({ id }: Finding): boolean => id === 'reference-missing';
  const placeOf = ({ key, path }: Finding): string => (path === undefined ? key : narInfoKey(path));
  return {
    wrong,
    unsound: all.filter(key => !sound.has(key)),
    sound,
    damaged: damage.filter(found => !isHole(found)).map(placeOf),
    holes: damage.filter(isHole).map(placeOf),
    warnings: findings.filter(each => !damage.includes(each)).map(({ id, key }) => `${id} ${key}`),
  };
}

function infoIn(bytes: Buffer | undefined): NarInfo | undefined {
  try {
    return bytes && parseNarInfo(bytes.toString('latin1'), defaultStoreDir);
  } catch {
    return undefined;
  }
}

function isTrue({ file, narHash, narSize }: NarInfo, files: Files): boolean {
  const packed = files.get(file.url);
  if (!packed || packed.length !== file.fileSize || sumOf(packed) !== file.fileHash) return false;
  const nar = zstdDecompressSync(packed);
  return nar.length === narSize && sumOf(nar) === narHash;
}

const sumOf = (bytes: Uint8Array): string =>
  hashOf('sha256', createHash('sha256').update(bytes).digest());

/** One string for one content, so that what is judged already is known. */
export function digestOf(files: Files): string {
  const sum = createHash('sha256');
  for (const [key, value] of [...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    sum.update(`${key} ${value.length}\n`).update(value);
  return sum.digest('hex');
}
