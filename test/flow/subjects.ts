/** A whole cache as files, a damaged one, and the commands that work on them: what faults and races are tried on. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { executeMake } from '../../src/flow/make.ts';
import { planMake } from '../../src/flow/plan.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair, type RepairSource } from '../../src/flow/repair-plan.ts';
import { sign } from '../../src/flow/sign.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { defaultStoreDir, hashPart } from '../../src/format/store-path.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { temporaryFolder } from '../temporary.ts';
import { Disk, type Files } from './faulty.ts';
import { makeHealthy, type Name } from './healthy.ts';
import { after } from './laws.ts';

/** A command, and what it is run on. */
export type Command = (storage: Storage) => Promise<unknown>;

const healthy = await makeHealthy(temporaryFolder());
const second = parseSecretKey(generateKey('test-2').secret, 'test');

export const keyOf = (name: Name, extension = 'narinfo'): string =>
  `${hashPart(healthy.paths[name])}.${extension}`;

/** A cache with everything: signed, with listings, and with a line of its own in one narinfo. */
export const whole: Files = new Map(
  filesIn(healthy.cache).map(([key, value]) =>
    key === keyOf('plain')
      ? [key, Buffer.concat([value, Buffer.from('Own:  line \n')])]
      : [key, value],
  ),
);

/** The files of a cache that are of these paths only; those of the frame, and all NARs, stay. */
function only(files: Files, ...names: readonly Name[]): Files {
  const kept = names.map(name => hashPart(healthy.paths[name]));
  return filtered(files, key => !/\.(narinfo|ls)$/.test(key) || kept.includes(key.slice(0, 32)));
}

/** The same with a NAR, a narinfo and a listing that are wrong, a narinfo where it does not belong, and half the frame. */
export const damaged: Files = new Map([
  ...filtered(whole, key => key !== 'nix-cache-info' && key !== 'log/KEEP'),
  [
    urlOf('lib'),
    Buffer.from(whole.get(urlOf('lib'))!.map((byte, at) => (at === 20 ? ~byte : byte))),
  ],
  [keyOf('app'), whole.get(keyOf('app'))!.subarray(0, 100)],
  [keyOf('twin', 'ls'), Buffer.from('{')],
  [`${'9'.repeat(32)}.narinfo`, whole.get(keyOf('base'))!],
]);

/** Of these, `base` and `lib`, whose NAR is wrong. */
export const damagedHalf: Files = only(damaged, 'base', 'lib');

/** `twin` alone, without its listing. */
export const part: Files = filtered(
  only(whole, 'twin'),
  key => !/\.(ls|zst)$/.test(key) || key === urlOf('twin'),
);

/** The same, signed once more. */
export const partSigned: Files = await after(part, signing());

function filesIn(dir: string): [string, Buffer][] {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter(entry => entry.isFile()).map(at => join(at.parentPath, at.name));
  return files.sort().map(file => [file.slice(dir.length + 1), readFileSync(file)]);
}

export function filtered(files: Files, isKept: (key: string) => boolean): Files {
  return new Map([...files].filter(([key]) => isKept(key)));
}

export function urlOf(name: Name): string {
  return /^URL: (.*)$/m.exec(whole.get(keyOf(name))!.toString('latin1'))![1]!;
}

/** Makes a cache of the closures of these. */
export const making =
  (names: readonly Name[], { listings = true } = {}): Command =>
  async storage => {
    const sources = [{ store: healthy.store, roots: names.map(name => healthy.paths[name]) }];
    const plan = await planMake(sources, storage, { storeDir: defaultStoreDir, listings });
    return executeMake(plan, storage, {
      storeDir: defaultStoreDir,
      compression: 'zstd',
      level: 3,
      listings,
      keys: [healthy.key],
      cacheInfo: {},
      jobs: 1,
      report: () => {},
    });
  };

/** Signs everything with a second key, and drops signatures by keys of these names. */
export function signing(...drop: readonly string[]): Command {
  const options = { keys: [second], drop, unverified: false, jobs: 1, report: () => {} };
  return storage => sign(storage, options);
}

export const theStore: RepairSource = { store: healthy.store };
/** A cache that is whole. */
export const theCache: RepairSource = { cache: (await Disk.holding(whole)).storage() };

export const repairing =
  (sources: readonly RepairSource[], { drop = false } = {}): Command =>
  async storage => {
    const options = { jobs: 1, drop, report: () => {} };
    return executeRepair(await planRepair(storage, sources, options), storage, options);
  };
