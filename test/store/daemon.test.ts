/** Our client of the Nix daemon against one that does what no real one should. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import {
  encode,
  infoParts,
  operations,
  readInfo,
  readNumber,
  readText,
  readTexts,
} from '../../src/format/daemon-wire.ts';
import { sha256 } from '../../src/format/hash.ts';
import { stringSize, tokens, writeString } from '../../src/format/nar-wire.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName, type StorePath } from '../../src/format/store-path.ts';
import { type DaemonStore, daemonStore, dumpNar } from '../../src/store/daemon.ts';
import { Daemon } from '../../src/store/daemon-connection.ts';
import { temporaryFolder } from '../temporary.ts';
import { type FakeDaemon, fakeDaemon, greeting, last, refusing, type Talk } from './fake-daemon.ts';

const [a, b, c] = ['a', 'b', 'c'].map(digit =>
  parseBaseName(`${digit.repeat(32)}-${digit}`, defaultStoreDir),
) as [StorePath, StorePath, StorePath];
const places = { storeDir: defaultStoreDir, real: '/mnt/nix/store', state: '/no/state' };
const storeAt = (socket: string): DaemonStore => daemonStore(places, socket);

/** The NAR of a file with these bytes. */
function narOf(content: string): Buffer {
  const text = Buffer.alloc(stringSize(content.length));
  writeString(text, 0, content);
  return Buffer.concat([tokens.magic, tokens.regular, text, tokens.close]);
}

const infoOf = (path: StorePath, references: readonly StorePath[], content = ''): PathInfo => ({
  path,
  narHash: sha256(narOf(content)),
  narSize: narOf(content).length,
  references,
  signatures: [],
});

const infos = new Map(
  [infoOf(a, [a, b]), infoOf(b, []), infoOf(c, [a])].map(one => [one.path, one]),
);
const valid = (path: string): Buffer => {
  const info = infos.get(path as StorePath);
  return info ? encode(1, ...infoParts(info)) : encode(0);
};

/** Answers as a daemon that has these three paths. */
async function honest(talk: Talk): Promise<void> {
  for (;;) {
    const operation = await talk.read(readNumber());
    if (operation === operations.queryPathInfo)
      await talk.write(last, valid(await talk.read(readText())));
    else if (operation === operations.queryPathFromHashPart) {
      const part = await talk.read(readText());
      const found = [...infos.keys()].find(path => path.includes(part)) ?? '';
      await talk.write(last, encode(found));
    } else if (operation === operations.queryValidPaths) {
      const asked = await talk.read(readTexts());
      assert.equal(await talk.read(readNumber()), 0, 'substitutes nothing');
      await talk.write(last, encode(asked.filter(path => infos.has(path as StorePath))));
    } else if (operation === operations.narFromPath) {
      await talk.write(last, narOf(await talk.read(readText())));
    } else if (operation === operations.addSignatures) {
      assert.equal(await talk.read(readText()), a);
      assert.deepEqual(await talk.read(readTexts()), ['k:AAAA']);
      await talk.write(last, encode(1));
    } else assert.fail(`operation ${operation}`);
  }
}

async function nar(path: StorePath, daemon: Daemon, size = 1 << 16): Promise<Buffer> {
  const blocks: Buffer[] = [];
  const block = (): Buffer => Buffer.alloc(size);
  for await (const bytes of dumpNar(path, daemon, { block, listing: true })) blocks.push(bytes);
  for (const full of blocks.slice(0, -1)) assert.equal(full.length, size);
  return Buffer.concat(blocks);
}

describe('a daemon', () => {
  for (const version of [0x122, 0x123, 0x124, 0x125, 0x126, 0x127])
    for (const step of [1, 7, Number.POSITIVE_INFINITY])
      test(`of version 1.${version & 0xff}, whose words come ${step} bytes at a time, is a store`, async () => {
        const daemon = await fakeDaemon(honest, { version: Math.min(version, 0x126), step });
        const store = storeAt(daemon.socket);
        assert.deepEqual(await store.info(a), infos.get(a));
        assert.equal(
          await store.info(parseBaseName(`${'d'.repeat(32)}-d`, defaultStoreDir)),
          undefined,
        );
        assert.deepEqual(await store.byHashPart('b'.repeat(32)), infos.get(b));
        assert.equal(await store.byHashPart('d'.repeat(32)), undefined);
        assert.deepEqual([...(await store.closure!([c])).keys()], [c, a, b]);
        assert.deepEqual(await store.valid([b]), new Set([b]));
        const { nixVersion, trusted } = await store.about();
        assert.deepEqual([nixVersion, trusted], ['2.99', version < 0x123 ? undefined : false]);
        await store.sign(a, [parseSignature('k:AAAA')]);
        assert.equal(daemon.talks(), 1, 'over one connection');
      });

  test('is asked about thousands of paths without waiting for each answer', async () => {
    const many = Array.from({ length: 5000 }, (_, at) =>
      parseBaseName(`${String(at).padStart(32, '0')}-p`, defaultStoreDir),
    );
    const all = new Map(
      [infoOf(a, many), ...many.map(path => infoOf(path, []))].map(i => [i.path, i]),
    );
    const daemon = await fakeDaemon(async talk => {
      for (;;) {
        await talk.read(readNumber());
        const path = (await talk.read(readText())) as StorePath;
        await talk.write(last, encode(1, ...infoParts(all.get(path)!)));
      }
    });
    assert.equal((await storeAt(daemon.socket).closure!([a])).size, 5001);
  });

  test('that ended the connection meanwhile is asked over another', async () => {
    const daemon = await fakeDaemon(async talk => {
      await talk.take(8);
      await talk.write(last, valid(await talk.read(readText())));
    });
    const store = storeAt(daemon.socket);
    for (let asked = 1; asked <= 3; asked++) {
      assert.deepEqual(await store.info(a), infos.get(a));
      assert.equal(daemon.talks(), asked);
      await daemon.silence();
    }
  });

  test('gives NARs in full blocks, one after another over one connection', async () => {
    for (const step of [1, Number.POSITIVE_INFINITY]) {
      const fake = await fakeDaemon(honest, { step });
      const daemon = new Daemon(fake.socket);
      for (const size of [1, 8, 100, 1 << 16])
        for (const path of [a, b]) assert.deepEqual(await nar(path, daemon, size), narOf(path));
      assert.equal(fake.talks(), 1);
    }
  });

  test('names files by store path, and by where they lie on this machine', () => {
    const store = storeAt('/no/socket');
    assert.deepEqual(store.content(a), { daemon: '/no/socket', path: a });
    assert.deepEqual(
      [store.pathOf(`${a}/bin`), store.pathOf(`${places.real}/${a.slice(11)}`)],
      [a, a],
    );
    assert.equal(store.pathOf('/elsewhere'), undefined);
    assert.equal(store.url, 'unix:///no/socket');
  });
});

describe('a daemon that cannot be used', () => {
  const refused = (socket: string, code: string, message: RegExp): Promise<void> =>
    assert.rejects(storeAt(socket).info(a), { name: 'GranaryError', code, message });

  test('because there is no socket, is unavailable', () =>
    refused('/no/such/socket', 'unavailable', /\/no\/such\/socket: there is no such socket/));

  test('because the name is too long for a socket, is unavailable', () =>
    refused(`/${'x'.repeat(300)}`, 'unavailable', /Cannot reach/));

  test('because nobody listens, is unavailable', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    await refused(file, 'unavailable', /nobody listens/);
  });

  for (const version of [0x115, 0x121])
    test(`because it speaks version 1.${version & 0xff}, is usage`, async () => {
      const daemon = await fakeDaemon(
        async talk => {
          await talk.take(16);
          await talk.write(encode(0x6478696f, version));
          await talk.take(1);
        },
        { greets: false },
      );
      await refused(daemon.socket, 'usage', /speaks version 1\.\d\d of its protocol, and 1.34 to/);
    });

  for (const [what, words, code, message] of [
    ['is of another major version', encode(0x6478696f, 0x200), 'usage', /speaks version 2\.0/],
    [
      'is no daemon',
      Buffer.from('HTTP/1.1 400 Bad'),
      'malformed',
      /does not greet as a daemon does/,
    ],
  ] as const)
    test(`because it ${what}, is ${code}`, async () => {
      const daemon = await fakeDaemon(
        async talk => {
          await talk.write(words);
          await talk.take(1 << 20);
        },
        { greets: false },
      );
      await refused(daemon.socket, code, message);
    });

  test('because it closes at whatever byte, is unavailable', async () => {
    const all = Buffer.concat([...greeting(0x126), last, valid(a)]);
    for (let cut = 0; cut < all.length; cut += 3) {
      const daemon = await fakeDaemon(
        async talk => {
          await talk.take(16);
          await talk.write(all.subarray(0, cut));
        },
        { greets: false },
      );
      await refused(daemon.socket, 'unavailable', /closed the connection/);
      daemon.stop();
    }
  });

  for (const [what, [bytes, message]] of Object.entries({
    garbage: [Buffer.alloc(64, 0xee), /absurdly big/],
    'a message of no kind': [encode(77), /0x4d begins none/],
    'a text of endless length': [encode(0x6f6c6d67, 2 ** 52), /more than 1048576/],
    'an answer with too many references': [
      Buffer.concat([last, encode(1, '', '00'.repeat(32), 2 ** 40)]),
      /a list has/,
    ],
    'padding that is not zero': [
      Buffer.concat([encode(0x6f6c6d67, 1), Buffer.alloc(8, 1)]),
      /not zeros/,
    ],
  } as const))
    test(`because it answers with ${what}, is malformed`, async () => {
      const daemon = await fakeDaemon(async talk => {
        await talk.write(bytes);
        await talk.take(1 << 20);
      });
      await refused(daemon.socket, 'malformed', message);
    });

  for (const [words, code] of [
    ["path '/x' is not valid", 'absent'],
    ['something else', 'unavailable'],
  ] as const)
    test(`because it says "${words}", is ${code}, and its words are told`, async () => {
      const daemon = await fakeDaemon(talk =>
        talk.write(refusing(`\x1b[31;1merror:\x1b[0m ${words}`)),
      );
      await refused(
        daemon.socket,
        code,
        new RegExp(`Cannot ask for ${a}: the Nix daemon says: ${words}`),
      );
    });

  test('at the first question can be used at the next, if it is there again', async () => {
    let first = true;
    const daemon = await fakeDaemon(async talk => {
      if (!first) await honest(talk);
      first = false;
    });
    const store = storeAt(daemon.socket);
    await assert.rejects(store.info(a), { code: 'unavailable' });
    assert.deepEqual(await store.info(a), infos.get(a));
  });
});

describe('a NAR from a daemon', () => {
  const fails = async (fake: FakeDaemon, code: string, message: RegExp): Promise<void> => {
    await assert.rejects(nar(a, new Daemon(fake.socket)), { name: 'GranaryError', code, message });
  };
  const whole = narOf('some content');

  test('that breaks off while the daemon lives is an error of this path only', async () => {
    for (const cut of [0, 8, 100, whole.length - 1])
      await fails(
        await fakeDaemon(async talk => {
          await talk.take(8);
          await talk.write(last, whole.subarray(0, cut));
        }),
        'corrupt',
        new RegExp(`${a}.* breaks off after ${cut} bytes`),
      );
  });

  test('that breaks off because the daemon is gone makes it unavailable', async () => {
    const fake = await fakeDaemon(async (talk, self) => {
      await talk.take(8);
      await talk.write(last, whole.subarray(0, 100));
      self.stop();
    });
    await fails(fake, 'unavailable', /closed the connection/);
  });

  test('that is none is malformed', async () => {
    const fake = await fakeDaemon(async talk => {
      await talk.take(8);
      await talk.write(last, Buffer.alloc(1000, 1));
      await talk.take(1 << 20);
    });
    await fails(fake, 'malformed', /Cannot read NAR/);
  });

  test('in the middle of which the daemon says why it fails is an error with its words', async () => {
    const begun = Buffer.concat([tokens.magic, tokens.directory]);
    for (const step of [1, 7, 1000]) {
      const fake = await fakeDaemon(
        async talk => {
          await talk.take(8);
          await talk.write(last, begun, refusing('opening directory: No such file or directory'));
        },
        { step },
      );
      await fails(fake, 'absent', /Cannot read .*-a: the Nix daemon says: opening directory/);
    }
  });

  test('that the daemon refuses is an error with its words', async () => {
    const fake = await fakeDaemon(async talk => {
      await talk.take(8);
      await talk.write(refusing(`path '${a}' is not valid`));
    });
    await fails(fake, 'absent', /Cannot read .*: the Nix daemon says: path/);
  });
});

/** Says that it has these paths, whichever it is asked about. */
async function hasOnly(talk: Talk, valid: readonly StorePath[]): Promise<void> {
  assert.equal(await talk.read(readNumber()), operations.queryValidPaths);
  await talk.read(readTexts());
  await talk.read(readNumber());
  await talk.write(last, encode(valid));
}

/** What came in frames. */
async function unframed(talk: Talk): Promise<Buffer> {
  const frames: Buffer[] = [];
  for (;;) {
    const size = await talk.read(readNumber());
    if (size === 0) return Buffer.concat(frames);
    frames.push(await talk.take(size));
  }
}

describe('paths added to a daemon', () => {
  const content = 'x'.repeat(300_000);
  const [one, two] = [infoOf(b, []), infoOf(a, [b], content)];
  const paths = [
    { info: one, nar: () => [narOf('')] },
    {
      info: two,
      nar: () => [new Uint8Array(0), narOf(content).subarray(0, 9), narOf(content).subarray(9)],
    },
  ];

  test('are sent with their infos, signatures to be checked, and without an empty frame', async () => {
    let sent: Buffer | undefined;
    const daemon = await fakeDaemon(async talk => {
      await hasOnly(talk, []);
      const asked = [readNumber(), readNumber(), readNumber()];
      const words = [];
      for (const each of asked) words.push(await talk.read(each));
      assert.deepEqual(words, [operations.addMultipleToStore, 0, 0]);
      sent = await unframed(talk);
      await talk.write(encode(0x6f6c6d67, 'a note meanwhile'), last);
    });
    await storeAt(daemon.socket).add(paths);
    const expected = [
      encode(2, b, ...infoParts(one)),
      narOf(''),
      encode(a, ...infoParts(two)),
      narOf(content),
    ];
    assert.ok(sent?.equals(Buffer.concat(expected)));
    assert.ok(!readInfo(b).next().done);
  });

  test('are sent only where it lacks them', async () => {
    for (const valid of [[b], [b, a]]) {
      let sent: Buffer | undefined;
      const daemon = await fakeDaemon(async talk => {
        await hasOnly(talk, valid);
        await talk.take(24);
        sent = await unframed(talk);
        await talk.write(last);
      });
      await storeAt(daemon.socket).add(paths);
      assert.deepEqual(sent?.subarray(0, 8), valid.length === 1 ? encode(1) : undefined);
    }
  });

  test('that are none are not even sent', () => storeAt('/no/socket').add([]));

  for (const [words, code] of [
    [`cannot add path '${a}' because it lacks a signature by a trusted key`, 'untrusted'],
    [`cannot add path '${a}' because it lacks a valid signature`, 'untrusted'],
    [`hash mismatch importing path '${a}'`, 'corrupt'],
    ['disk full', 'unavailable'],
  ] as const)
    for (const when of ['at once', 'at the end', 'at once, and closes'])
      test(`are refused as ${code} by "${words}", ${when}`, async () => {
        const daemon = await fakeDaemon(async talk => {
          await hasOnly(talk, []);
          await talk.take(24);
          if (when === 'at the end') await unframed(talk);
          await talk.write(refusing(words));
          if (when === 'at once') await unframed(talk);
        });
        await assert.rejects(storeAt(daemon.socket).add(paths), {
          code,
          message: new RegExp(
            `^Cannot add 2 paths to the store: the Nix daemon says: ${words}(; sign|$)`,
          ),
        });
      });

  test('for which there is no room are unavailable, and nothing else can be added', async () => {
    const daemon = await fakeDaemon(async talk => {
      await hasOnly(talk, []);
      await talk.take(24);
      await talk.write(refusing('writing to file: No space left on device'));
    });
    await assert.rejects(storeAt(daemon.socket).add(paths), {
      code: 'unavailable',
      message: /free some space there/,
      facts: { stops: 'all' },
    });
  });

  test('are waited for when a NAR after them cannot be read', async () => {
    let isDone = false;
    const daemon = await fakeDaemon(async talk => {
      await hasOnly(talk, []);
      await talk.take(24);
      await unframed(talk).catch(() => {});
      await setTimeout(50); // it adds what it has
      isDone = true;
    });
    const broken = {
      info: two,
      nar: function* () {
        yield narOf(content).subarray(0, 9);
        throw new Error('no such file');
      },
    };
    await assert.rejects(storeAt(daemon.socket).add([paths[0]!, broken]), /no such file/);
    assert.ok(isDone);
  });

  for (const [what, nar] of Object.entries({ short: narOf('').subarray(8), long: narOf('more') }))
    test(`with a NAR that is too ${what} are corrupt`, async () => {
      const daemon = await fakeDaemon(async talk => {
        await hasOnly(talk, []);
        await talk.take(1 << 20);
      });
      await assert.rejects(storeAt(daemon.socket).add([{ info: one, nar: () => [nar] }]), {
        code: 'corrupt',
        message: new RegExp(`${b}.* its NAR does not have the ${one.narSize} bytes`),
      });
    });

  test('whose NAR cannot be read fail with that error', async () => {
    const daemon = await fakeDaemon(async talk => {
      await hasOnly(talk, []);
      await talk.take(1 << 20);
    });
    const nar = (): never => {
      throw new Error('no such file');
    };
    await assert.rejects(storeAt(daemon.socket).add([{ info: one, nar }]), /no such file/);
  });
});
