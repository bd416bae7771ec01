/** The proof of the faults, proven: writers that break a law are caught, each by the law that it breaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { bodyOf, type Entry, type Storage } from '../../src/storage/storage.ts';
import { seeded } from '../random.ts';
import { storageLaws } from '../storage/conformance.ts';
import { Disk, type Gate, interleaved } from './faulty.ts';
import { assertSafe, type Case } from './laws.ts';
import { filtered, keyOf, urlOf, whole } from './subjects.ts';

storageLaws('the faulty disk, while nothing fails', async () => new Disk().storage());

test('a power cut takes what was not flushed: names, or bytes of what was put, and nothing else', async () => {
  const disk = await Disk.holding(new Map([['old', Buffer.from('old')]]));
  const storage = disk.storage();
  await storage.put('flushed', bodyOf('flushed'));
  await storage.publish([]);
  await storage.put('old', bodyOf('new'));
  await storage.put('put', bodyOf('put'));
  const seen = { old: new Set<string>(), put: new Set<string>() };
  const pairs = new Set<string>();
  for (let seed = 1; seed <= 200; seed++) {
    const journal = seed % 2 === 0;
    const files = disk.afterPowerCut(seeded(seed), { journal });
    assert.equal(String(files.get('flushed')), 'flushed');
    const [old, put] = [
      String(files.get('old')),
      files.has('put') ? String(files.get('put')) : '-',
    ];
    seen.old.add(old);
    seen.put.add(put);
    if (journal && old === 'old') pairs.add(put);
  }
  assert.deepEqual([...seen.old].sort(), ['new', 'old']);
  assert.deepEqual([...seen.put].sort(), ['', '-', 'p', 'pu', 'put']);
  assert.deepEqual([...pairs], ['-'], 'a journal keeps no later name without the earlier');
});

/** Entries as they are in the whole cache. */
const entries = (...keys: readonly string[]): readonly Entry[] =>
  keys.map(key => ({ key, body: bodyOf(whole.get(key)!) }));

const putAll = async (storage: Storage, all: readonly Entry[]): Promise<void> => {
  for (const { key, body } of all) await storage.put(key, body);
};

const bare = filtered(whole, key => !/\.(narinfo|ls|nar\.zst)$/.test(key));
const unlisted = filtered(whole, key => !key.endsWith('.ls'));
const [base, lib, nars] = [
  entries(keyOf('base')),
  entries(keyOf('lib')),
  entries(urlOf('base'), urlOf('lib')),
];

interface Outlaw extends Case {
  readonly law: RegExp;
}

const outlaws: Readonly<Record<string, Outlaw>> = {
  'publishes a narinfo before its NAR': {
    before: bare,
    command: async storage => {
      await storage.publish(base);
      await putAll(storage, nars);
    },
    law: /narinfos that are unsound now/,
  },
  'puts a narinfo where it should publish': {
    before: bare,
    command: async storage => {
      await putAll(storage, [...nars, ...base]);
      await storage.publish([]);
    },
    law: /narinfos that are (wrong|unsound) now/,
  },
  'publishes a referrer before its reference': {
    before: bare,
    command: async storage => {
      await putAll(storage, nars);
      await storage.publish([...lib, ...base]);
    },
    law: /narinfos that are unsound now/,
  },
  'removes a NAR before its narinfo': {
    before: whole,
    command: async storage => {
      for (const key of [urlOf('app'), keyOf('app')]) await storage.delete!(key);
    },
    law: /narinfos that are unsound now/,
  },
  'removes a narinfo that it is going to write anew': {
    before: whole,
    command: async storage => {
      await storage.delete!(keyOf('app'));
      await storage.publish(entries(keyOf('app')));
    },
    law: /was sound, and is lost/,
  },
  'forgets signatures': {
    before: whole,
    command: storage => {
      const text = String(whole.get(keyOf('app'))).replace(/^Sig: .*\n/m, '');
      return storage.publish([{ key: keyOf('app'), body: bodyOf(text) }]);
    },
    law: /signatures of .* that are lost/,
  },
  'puts a listing beside a narinfo that is there': {
    before: unlisted,
    command: async storage => {
      await putAll(storage, entries(keyOf('app', 'ls')));
      await storage.publish([]);
    },
    law: /new damage/,
  },
  'leaves a file of its own': {
    before: whole,
    command: storage => storage.put('lock', bodyOf('')),
    law: /strays/,
  },
  'does not say that it failed': {
    before: bare,
    command: storage => putAll(storage, nars).catch(() => {}),
    law: /told as done/,
  },
  'fails with what is no GranaryError': {
    before: bare,
    command: storage =>
      putAll(storage, nars).catch(error => {
        throw new Error(error.message);
      }),
    law: /is no GranaryError/,
  },
  'believes that what is there is whole': {
    before: bare,
    command: async storage => {
      const missing = [];
      for (const nar of nars) if (!(await storage.head(nar.key))) missing.push(nar);
      await putAll(storage, missing);
    },
    law: /the next run/,
  },
};

for (const [what, { law, ...each }] of Object.entries(outlaws))
  test(`a writer that ${what} is caught`, async () => {
    await assert.rejects(assertSafe(each), { message: law });
  });

test('writers together take their steps in an order that the seed gives, and in many', async () => {
  const run = async (seed: number): Promise<string> => {
    let order = '';
    const writer = (name: string) => async (gate: Gate) => {
      for (let step = 0; step < 4; step++) {
        await setTimeout(Math.random() * 2);
        await gate({ does: 'put', key: name }, async () => {
          order += name;
        });
      }
    };
    await interleaved(seeded(seed), [writer('a'), writer('b')]);
    return order;
  };
  const orders = await Promise.all(Array.from({ length: 40 }, (_, seed) => run(seed)));
  assert.deepEqual(await Promise.all(Array.from({ length: 40 }, (_, seed) => run(seed))), orders);
  assert.ok(new Set(orders).size > 10, `only ${new Set(orders).size} orders`);
  assert.ok(orders.every(order => [...order].sort().join('') === 'aaaabbbb'));
});

test('a writer that loses what another wrote meanwhile is caught', async () => {
  const count = async (seed: number): Promise<string> => {
    const disk = await Disk.holding(new Map([['count', Buffer.from('0')]]));
    const addOne = async (gate: Gate): Promise<void> => {
      const storage = disk.storage(gate);
      const [bytes] = (await storage.get('count'))!.bytes as readonly Buffer[];
      await storage.put('count', bodyOf(String(Number(bytes) + 1)));
    };
    await interleaved(seeded(seed), [addOne, addOne]);
    return String(disk.files.get('count'));
  };
  const counts = await Promise.all(Array.from({ length: 20 }, (_, seed) => count(seed)));
  assert.deepEqual([...new Set(counts)].sort(), ['1', '2']);
});
