/**
 * `make`, `sign` and `repair` on a disk that fails: at every step, in every way, and with the power cut
 * after it; and two of them at once, in many orders of their steps.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { directoryStorage } from '../../src/storage/directory.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { seeded } from '../random.ts';
import { temporaryFolder } from '../temporary.ts';
import { Disk, type Files, faultAt, faultsOf, type Gate, interleaved, recorder } from './faulty.ts';
import { after, assertLawful, assertSafe, type Case } from './laws.ts';
import {
  type Command,
  damaged,
  damagedHalf,
  making,
  part,
  partSigned,
  repairing,
  signing,
  theCache,
  theStore,
  whole,
} from './subjects.ts';

const cases: Readonly<Record<string, Case>> = {
  'make of an empty cache': { before: new Map(), command: making([]) },
  'make into a cache that has a part, and no listings': {
    before: partSigned,
    command: making(['lib', 'twin']),
  },
  'sign with one more key': { before: whole, command: signing() },
  'sign with another key': { before: whole, command: signing('test-1'), dropped: /^test-1:/ },
  'sign of a damaged cache': { before: damaged, command: signing() },
  'repair from a store': {
    before: damagedHalf,
    command: repairing([theStore]),
    unread: /./, // such a narinfo is put in anew, as the store has it
  },
  'repair from a cache': { before: damaged, command: repairing([theCache]) },
  'repair that drops what nobody has': { before: damaged, command: repairing([], { drop: true }) },
};

for (const [what, each] of Object.entries(cases))
  test(`${what} may fail at each step: the laws hold, and the next run ends it`, () =>
    assertSafe(each));

interface Race {
  readonly before: Files;
  readonly writers: readonly Command[];
  /** What is run at last, and makes it what all of them together should. */
  readonly last?: Command;
  readonly seeds: number;
}

const races: Readonly<Record<string, Race>> = {
  'two makes of overlapping closures': {
    before: new Map(),
    writers: [making(['lib', 'twin']), making(['app'])],
    seeds: 8,
  },
  'make and sign': {
    before: part,
    writers: [making(['app', 'twin']), signing()],
    last: signing(),
    seeds: 8,
  },
  'repair and make': {
    before: damaged,
    writers: [repairing([theCache]), making(['app', 'twin'])],
    seeds: 8,
  },
  'repair and sign': {
    before: damaged,
    writers: [repairing([theCache]), signing()],
    last: signing(),
    seeds: 60,
  },
  'two repairs': {
    before: damaged,
    writers: [repairing([theCache]), repairing([theCache])],
    seeds: 60,
  },
  'two signs': { before: whole, writers: [signing(), signing()], seeds: 60 },
};

/** A gate after whose steps somebody looks. */
const watched =
  (gate: Gate, look: () => Promise<void>): Gate =>
  (step, take) =>
    gate(step, async () => {
      const taken = await take();
      await look();
      return taken;
    });

for (const [what, { before, writers, last = async () => {}, seeds }] of Object.entries(races))
  test(`${what} at once: the laws hold after each step, and the end is as of one after the other`, async () => {
    let expected = before;
    for (const writer of [...writers, last]) expected = await after(expected, writer);
    for (let seed = 1; seed <= seeds; seed++) {
      const disk = await Disk.holding(before);
      const [draw, cut] = [seeded(seed), seeded(-seed)];
      const look = async (): Promise<void> => {
        await assertLawful(before, disk.files, { holes: false });
        await assertLawful(before, disk.afterPowerCut(cut, { journal: true }), { holes: false });
      };
      await interleaved(
        draw,
        writers.map(writer => gate => writer(disk.storage(watched(gate, look)))),
      );
      await last(disk.storage());
      assert.deepEqual(disk.files, expected, `seed ${seed}`);
    }
  });

test('a source that fails at any step, or in the middle of a NAR, is passed over for the next', async () => {
  const source = await Disk.holding(whole);
  const { steps, gate } = recorder();
  const repaired = await after(damaged, repairing([{ cache: source.storage(gate) }]));
  const failing = steps.flatMap((step, at) =>
    faultsOf(step).map(fault => source.storage(faultAt(at, fault))),
  );
  for (const cache of [...failing, torn(source.storage())]) {
    const left = await after(damaged, repairing([{ cache }, theCache]));
    assert.deepEqual(left, repaired);
  }
});

/** A storage whose NAR files cannot be read to their end. */
const torn = (storage: Storage): Storage => ({
  ...storage,
  get: async (key, span) => {
    const found = await storage.get(key, span);
    if (!found || !key.startsWith('nar/')) return found;
    const [bytes] = found.bytes as readonly Uint8Array[];
    const readToHalf = async function* () {
      yield bytes!.subarray(0, bytes!.length / 2);
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
    };
    return { ...found, bytes: readToHalf() };
  },
});

test('make stops at a narinfo that cannot be written, as it does at a NAR', async () => {
  const folder = temporaryFolder();
  const storage = directoryStorage(join(folder, 'cache'), { flush: false });
  const spool = (near: string): string =>
    near.endsWith('.narinfo') ? join(folder, 'no such folder', near) : storage.spool!(near);
  await assert.rejects(making(['app'])({ ...storage, spool }), { facts: { errno: 'ENOENT' } });
});

test('make joins a cache that another make has begun since it looked', async () => {
  const disk = new Disk();
  const storage = disk.storage();
  let looks = 0;
  const get: Storage['get'] = async (key, span) => {
    const found = await storage.get(key, span);
    if (looks++ === 0) await making([])(storage);
    return found;
  };
  await making(['lib'])({ ...storage, get });
  assert.deepEqual(disk.files, await after(new Map(), making(['lib'])));
});
