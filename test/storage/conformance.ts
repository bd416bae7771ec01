/** The laws of a Storage, as a suite that every backend runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { collect } from '../../src/bytes.ts';
import { GranaryError } from '../../src/errors.ts';
import {
  type Body,
  bodyOf,
  type Entry,
  type Span,
  type Storage,
} from '../../src/storage/storage.ts';

/** What a storage may be without, and cannot be tried on then. */
type Part = 'list' | 'delete';

/**
 * Proves the laws for storages that `open` makes, each fresh and empty. What is left behind is looked up where
 * `behind` says, for a storage that cannot list it. A law that a test's server breaks by itself is skipped, with why.
 */
export function storageLaws(
  backend: string,
  open: () => Promise<Storage>,
  behind = (storage: Storage): Storage => storage,
  serverBreaks: Readonly<Record<string, string>> = {},
): void {
  const law = (
    name: string,
    prove: (storage: Storage) => Promise<void>,
    ...needs: readonly Part[]
  ): void => {
    test(`${backend}: ${name}`, async t => {
      const storage = await open();
      const lacking = needs.find(part => storage[part] === undefined);
      if (lacking) t.skip(`it has no ${lacking}`);
      else if (name in serverBreaks) t.skip(serverBreaks[name]);
      else await prove(storage);
    });
  };
  const keys = (storage: Storage, prefix: string): Promise<string[]> =>
    keysIn(behind(storage), prefix);

  law('what was put is found', async storage => {
    for (const size of [0, 1, 300_000, 3_000_000]) {
      const bytes = Buffer.alloc(size, 'granary ');
      await storage.put(`nar/${size}`, bodyOf(bytes));
      assert.equal((await storage.head(`nar/${size}`))?.size, size);
      assert.ok((await read(storage, `nar/${size}`))?.equals(bytes), `${size} bytes`);
    }
  });

  law('a put replaces what was there', async storage => {
    await storage.put('a.narinfo', bodyOf('old and longer'));
    await storage.put('a.narinfo', bodyOf('new'));
    assert.equal(String(await read(storage, 'a.narinfo')), 'new');
    assert.deepEqual(await keys(storage, ''), ['a.narinfo']);
  });

  law('a span gives just these bytes, and less where the value ends', async storage => {
    const bytes = Buffer.from(Array.from({ length: 1000 }, (_, at) => at % 251));
    await storage.put('value', bodyOf(bytes));
    const spans: readonly [Span, Buffer][] = [
      [{ start: 0, length: 1 }, bytes.subarray(0, 1)],
      [{ start: 10, length: 20 }, bytes.subarray(10, 30)],
      [{ start: 990, length: 100 }, bytes.subarray(990)],
      [{ start: 1000, length: 5 }, Buffer.alloc(0)],
    ];
    for (const [span, expected] of spans) {
      const found = await storage.get('value', span);
      assert.equal(found?.size, expected.length);
      assert.ok((await collect(found.bytes, 2000))?.equals(expected), JSON.stringify(span));
    }
  });

  law('the absent is undefined, never an error', async storage => {
    for (const key of ['nothing', 'no/such/thing', 'nar/x.nar']) {
      assert.equal(await storage.head(key), undefined);
      assert.equal(await storage.get(key), undefined);
    }
    await storage.put('file', bodyOf('x'));
    assert.equal(await storage.get('file/below'), undefined);
    assert.equal(await storage.head('file/below'), undefined);
  });

  law('a folder of keys is no value', async storage => {
    await storage.put('nar/x.nar', bodyOf('x'));
    assert.equal(await storage.head('nar'), undefined);
    assert.equal(await storage.get('nar'), undefined);
  });

  law(
    'deleting twice is fine',
    async storage => {
      await storage.put('value', bodyOf('x'));
      await storage.delete!('value');
      await storage.delete!('value');
      await storage.delete!('never/was');
      assert.equal(await storage.head('value'), undefined);
    },
    'delete',
  );

  law(
    'list gives each key under the prefix once',
    async storage => {
      const all = [
        'a.narinfo',
        'b.narinfo',
        'nar/a.nar',
        'nar/b.nar',
        'log/x.drv',
        'nar2/c',
        'd/e/f/g',
      ];
      for (const key of all) await storage.put(key, bodyOf(key));
      assert.deepEqual(await keysIn(storage, ''), all.toSorted());
      assert.deepEqual(await keysIn(storage, 'nar/'), ['nar/a.nar', 'nar/b.nar']);
      assert.deepEqual(await keysIn(storage, 'd/e/'), ['d/e/f/g']);
      assert.deepEqual(await keysIn(storage, 'a'), ['a.narinfo']);
      assert.deepEqual(await keysIn(storage, 'nowhere/'), []);
    },
    'list',
  );

  for (const [what, key] of Object.entries({
    empty: '',
    absolute: '/etc/passwd',
    climbing: '../x',
    'climbing inside': 'nar/../../x',
    'with a dot part': './x',
    'with an empty part': 'nar//x',
    'ending in a slash': 'nar/',
    'with a NUL': 'a\0b',
  }))
    law(`a key that is ${what} is refused everywhere`, async storage => {
      const refused = { name: 'GranaryError', code: 'malformed' };
      await assert.rejects(async () => storage.head(key), refused);
      await assert.rejects(async () => storage.get(key), refused);
      await assert.rejects(async () => storage.put(key, bodyOf('x')), refused);
      await assert.rejects(async () => storage.publish([{ key, body: bodyOf('x') }]), refused);
      if (storage.delete) await assert.rejects(async () => storage.delete?.(key), refused);
    });

  for (const [what, body] of Object.entries<Body>({
    'fails in the middle': {
      size: 600_000,
      open: async function* () {
        yield Buffer.alloc(300_000);
        throw new GranaryError('unavailable', 'The source went away');
      },
    },
    'fails when it is small': {
      size: 6,
      open: () => {
        throw new GranaryError('unavailable', 'The source went away');
      },
    },
    'is shorter than it says': { size: 400_000, open: () => [Buffer.alloc(300_000)] },
    'is longer than it says': { size: 2, open: () => [Buffer.alloc(3)] },
  }))
    law(`a put that ${what} leaves what was there, and nothing else`, async storage => {
      await storage.put('value', bodyOf('old'));
      await assert.rejects(storage.put('value', body), GranaryError);
      await assert.rejects(storage.put('fresh', body), GranaryError);
      assert.equal(String(await read(storage, 'value')), 'old');
      assert.deepEqual(await keys(storage, ''), ['value']);
    });

  law('publish puts all, and nothing of a batch that cannot be put whole', async storage => {
    await storage.publish([
      { key: 'a', body: bodyOf('1') },
      { key: 'b', body: bodyOf('2') },
    ]);
    assert.deepEqual(await keys(storage, ''), ['a', 'b']);
    const broken: Body = { size: 9, open: () => [Buffer.alloc(1)] };
    await assert.rejects(
      storage.publish([
        { key: 'c', body: broken },
        { key: 'd', body: bodyOf('4') },
      ]),
      GranaryError,
    );
    assert.deepEqual(await keys(storage, ''), ['a', 'b']);
  });

  for (const [order, after] of Object.entries<Readonly<Record<string, readonly string[]>>>({
    'all that stand before it': {},
    'those that it names': { a: [], b: [], middle: ['a'], y: ['middle'], z: ['b', 'y'] },
  }))
    for (const [moment, isFailing] of Object.entries(moments))
      law(`publish shows an entry after ${order}, also when one fails ${moment}`, async storage => {
        const wholes = new Map(
          ['a', 'b', 'middle', 'y', 'z'].map(key => [key, Buffer.alloc(50_000, key)]),
        );
        const shown: string[] = [];
        const entries = [...wholes].map(
          ([key, whole]): Entry => ({
            key,
            body: key === 'middle' ? failingAt(isFailing, whole) : bodyOf(whole),
            ...(after[key] && { after: after[key] }),
            shown: () => shown.push(key),
          }),
        );
        const error: unknown = await storage.publish(entries).catch(error => error);
        const visible = await keys(storage, '');
        if (error === undefined) {
          assert.equal(moment, 'as it is read again'); // who reads it once meets no failure
          assert.deepEqual(visible, [...wholes.keys()]);
        } else {
          assert.ok(error instanceof GranaryError, String(error));
          for (const key of ['middle', 'y', 'z'])
            assert.ok(!visible.includes(key), `${key} is there: ${visible.join(' ')}`);
        }
        for (const key of visible)
          assert.ok((await read(storage, key))?.equals(wholes.get(key)!), `${key} is not whole`);
        for (const key of shown) assert.ok(visible.includes(key), `${key} was told of`);
      });

  law('readers never see half a value while it is replaced', async storage => {
    const [old, fresh] = [Buffer.alloc(1_000_000, 'o'), Buffer.alloc(700_000, 'n')];
    await storage.put('value', bodyOf(old));
    let writing = true;
    const writer = (async () => {
      for (let round = 0; round < 20; round++)
        await storage.put('value', bodyOf(round % 2 ? old : fresh));
      writing = false;
    })();
    while (writing) {
      const seen = await read(storage, 'value');
      assert.ok(seen?.equals(old) || seen?.equals(fresh), 'neither the old nor the new value');
    }
    await writer;
  });
}

/** How often a body was opened, and how many chunks were asked of it since. */
interface Moment {
  readonly opened: number;
  readonly read: number;
}

/** When a body fails. A storage that looks at all of a batch before it puts any meets the last only in between. */
const moments: Readonly<Record<string, (moment: Moment) => boolean>> = {
  'as it is opened': ({ read }) => read === 0,
  'as it is read': ({ read }) => read === 1,
  'as it is read again': ({ opened, read }) => opened > 1 && read === 1,
};

/** In two chunks; it fails late enough that what does not wait for it would be there. */
function failingAt(isFailing: (moment: Moment) => boolean, whole: Buffer): Body {
  let opened = 0;
  const gone = (read: number): void => {
    if (isFailing({ opened, read })) throw new GranaryError('unavailable', 'The source went away');
  };
  const chunks = async function* () {
    yield whole.subarray(0, 20_000);
    await setTimeout(100);
    gone(1);
    yield whole.subarray(20_000);
  };
  const open = () => {
    opened += 1;
    gone(0);
    return chunks();
  };
  return { size: whole.length, open };
}

async function read(storage: Storage, key: string): Promise<Buffer | undefined> {
  const found = await storage.get(key);
  return found && (await collect(found.bytes, 1 << 24));
}

async function keysIn(storage: Storage, prefix: string): Promise<string[]> {
  return (await Array.fromAsync(storage.list!(prefix), entry => entry.key)).sort();
}
