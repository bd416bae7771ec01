import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseContentAddress } from '../../src/format/content-address.ts';
import {
  type DaemonMessage,
  encode,
  hello,
  infoParts,
  introduction,
  printVersion,
  quietly,
  type Reading,
  readHello,
  readInfo,
  readMessage,
  readNumber,
  readOptionalPath,
  readPathInfo,
  readPaths,
  readText,
  readTexts,
  readWelcome,
  versions,
  wireLimits,
} from '../../src/format/daemon-wire.ts';
import { hashOf, sha256 } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName, type StorePath } from '../../src/format/store-path.ts';
import { readFrom } from './read-from.ts';

const path = parseBaseName(`${'a'.repeat(32)}-a`, defaultStoreDir);
const other = parseBaseName(`${'b'.repeat(32)}-b`, defaultStoreDir);
const huge = Buffer.alloc(8, 0xff);

const spelled: Readonly<Record<string, [(number | string | string[])[], string]>> = {
  'a number': [[0x0102], '0201000000000000'],
  'a number of over 32 bits': [[2 ** 40 + 1], '0100000000010000'],
  'an empty text': [[''], '0000000000000000'],
  'a text': [['abc'], '0300000000000000' + '6162630000000000'],
  'a text that needs no padding': [['12345678'], '0800000000000000' + '3132333435363738'],
  'a text in latin-1': [['\xff'], '0100000000000000' + 'ff00000000000000'],
  'an empty list': [[[]], '0000000000000000'],
  'a list': [
    [['a', '']],
    '0200000000000000' + '0100000000000000' + '6100000000000000' + '0000000000000000',
  ],
  'one after another': [[1, 'a'], '0100000000000000' + '0100000000000000' + '6100000000000000'],
};

describe('the wire of the daemon', () => {
  for (const [what, [parts, hex]] of Object.entries(spelled))
    test(`spells ${what}`, () => assert.equal(encode(...parts).toString('hex'), hex));

  const latin1 = fc
    .uint8Array({ maxLength: 40 })
    .map(bytes => Buffer.from(bytes).toString('latin1'));

  test('gives back every number, text and list, and takes no byte more', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), latin1, fc.array(latin1), (number, text, texts) => {
        function* all(): Reading<unknown> {
          return [yield* readNumber(), yield* readText(), yield* readTexts()];
        }
        const bytes = Buffer.concat([encode(number, text, texts), Buffer.from('more')]);
        assert.deepEqual(readFrom(bytes, all()), { value: [number, text, texts], left: 4 });
      }),
    );
  });

  const hash = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map(bytes => hashOf('sha256', bytes));
  const storePath = fc
    .tuple(hash, fc.stringMatching(/^[a-z][a-z0-9+_?=.-]{0,30}$/))
    .map(([digest, name]) => parseBaseName(`${digest.slice(-32)}-${name}`, defaultStoreDir));
  const info: fc.Arbitrary<PathInfo> = fc
    .record({
      path: storePath,
      narHash: hash,
      narSize: fc.maxSafeNat(),
      references: fc.uniqueArray(storePath).map(paths => paths.sort()),
      deriver: fc.option(storePath, { nil: undefined }),
      ca: fc.option(
        fc
          .tuple(fc.constantFrom('text', 'fixed', 'fixed:r'), hash)
          .map(([how, of]) => parseContentAddress(`${how}:${of}`)),
        { nil: undefined },
      ),
      signatures: fc.array(hash.map(of => parseSignature(`key-1:${of.slice(7, 47)}`))),
    })
    .map(({ deriver, ca, ...rest }) => ({
      ...rest,
      ...(deriver && { deriver }),
      ...(ca && { ca }),
    }));

  test('gives back every path info', () => {
    fc.assert(
      fc.property(info, one => {
        const bytes = encode(1, ...infoParts(one));
        assert.deepEqual(readFrom(bytes, readPathInfo(one.path)), { value: one, left: 0 });
      }),
    );
  });

  test('has no info of a path that is not valid', () => {
    assert.deepEqual(readFrom(encode(0), readPathInfo(path)), { value: undefined, left: 0 });
  });

  test('gives references in their order, whatever theirs', () => {
    const parts = infoParts(infoOf([other, path]));
    assert.deepEqual(readFrom(encode(...parts), readInfo(path))?.value.references, [path, other]);
  });

  test('gives back paths', () => {
    const read = <T>(bytes: Buffer, reading: Reading<T>): T => readFrom(bytes, reading)!.value;
    assert.equal(read(encode(''), readOptionalPath(defaultStoreDir)), undefined);
    assert.equal(read(encode(path), readOptionalPath(defaultStoreDir)), path);
    assert.deepEqual(read(encode([path]), readPaths(defaultStoreDir)), new Set([path]));
  });

  test('asks to be quiet with all thirteen settings of Nix, none of them overridden', () => {
    const numbers = Array.from({ length: 14 }, (_, at) => quietly().readUInt32LE(at * 8));
    assert.deepEqual(numbers, [19, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 1, 0, 0]);
    assert.equal(quietly().length, 14 * 8);
  });
});

function infoOf(references: readonly StorePath[]): PathInfo {
  return { path, narHash: sha256(''), narSize: 0, references, signatures: [] };
}

describe('the greeting of the daemon', () => {
  test('is answered with our newest version', () => {
    assert.equal(hello().toString('hex'), '6378696e00000000' + '2601000000000000');
    assert.deepEqual(readFrom(encode(0x6478696f, 0x115), readHello())?.value, 0x115);
    assert.deepEqual([0x122, 0x126, 0x200].map(printVersion), ['1.34', '1.38', '2.0']);
  });

  const welcomes = {
    '1.34': [0x122, encode('2.8.0'), { nixVersion: '2.8.0' }, 16],
    '1.35': [0x123, encode('2.15.0', 1), { nixVersion: '2.15.0', trusted: true }, 16],
    '1.36': [0x124, encode('2.16.0', 2), { nixVersion: '2.16.0', trusted: false }, 16],
    '1.37': [0x125, encode('2.20.0', 0), { nixVersion: '2.20.0' }, 16],
    '1.38': [
      versions.newest,
      encode(['a-feature', 'another'], '2.34.8', 2),
      { nixVersion: '2.34.8', trusted: false },
      24,
    ],
  } as const;
  for (const [name, [version, bytes, welcome, size]] of Object.entries(welcomes))
    test(`is read as version ${name} has it`, () => {
      assert.deepEqual(readFrom(bytes, readWelcome(version)), { value: welcome, left: 0 });
      assert.ok(introduction(version).equals(Buffer.alloc(size)));
    });
});

const tag = {
  next: 0x6f6c6d67,
  start: 0x53545254,
  stop: 0x53544f50,
  result: 0x52534c54,
  last: 0x616c7473,
  error: 0x63787470,
};
const started = Buffer.concat([
  ...[encode(tag.start), huge, encode(0, 100, 'copying', 3, 0), huge],
  ...[encode(1, 'text', 0, 5), huge],
]);
const errorOf = (message: string): Buffer =>
  encode(tag.error, 'Error', 0, 'Error', message, 0, 2, 0, 'while doing this', 0, 'and that');

const messages: Readonly<Record<string, [Buffer, DaemonMessage]>> = {
  'the end': [encode(tag.last), { type: 'last' }],
  'a line of a log': [encode(tag.next, 'building\n'), { type: 'note', text: 'building\n' }],
  'an activity, whose ids need 64 bits': [started, { type: 'activity' }],
  "an activity's end": [Buffer.concat([encode(tag.stop), huge]), { type: 'activity' }],
  'a result of one': [
    Buffer.concat([encode(tag.result), huge, encode(105, 2, 0, 5, 1, 'x')]),
    { type: 'activity' },
  ],
  'an error, without where it came from': [
    errorOf('path is not valid'),
    { type: 'error', message: 'path is not valid' },
  ],
  'an error, without its colours': [
    errorOf("\x1b[31;1merror:\x1b[0m path '\x1b[35;1m/x\x1b[0m' is not valid"),
    { type: 'error', message: "path '/x' is not valid" },
  ],
};

const malformed: Readonly<Record<string, [Buffer, () => Reading<unknown>, RegExp]>> = {
  'a greeting of something else': [encode(0x485454502f, 0), readHello, /does not greet/],
  'a number over 2^53': [Buffer.from('00000000000020' + '00', 'hex'), readNumber, /absurdly big/],
  'a text of 2^64 bytes': [huge, readText, /absurdly big/],
  'a text over the limit': [encode(wireLimits.text + 1), readText, /more than 1048576/],
  'a text with padding that is not zero': [
    Buffer.from('0100000000000000' + '6100000000000001', 'hex'),
    readText,
    /what follows "a" is not zeros/,
  ],
  'a list of 2^64 texts': [huge, readTexts, /absurdly big/],
  'a list over the limit': [encode(wireLimits.count + 1), readTexts, /more than 1048576/],
  'a message of no known kind': [encode(0x1234), readMessage, /0x1234 begins none/],
  'a wish for data': [encode(0x64617461, 1), readMessage, /begins none/],
  'a field of no known kind': [encode(tag.result, 1, 1, 1, 2), readMessage, /2 is neither/],
  'an error with too many traces': [
    encode(tag.error, 'Error', 0, 'Error', 'text', 0, 2 ** 40),
    readMessage,
    /a list has/,
  ],
  'a flag that is neither': [encode(2), () => readPathInfo(path), /neither yes nor no/],
  'trust of no known kind': [encode('2.15', 3), () => readWelcome(0x123), /3 is none/],
  'an info with a bad hash': [
    encode('', 'zz', [], 0, 0, 0, [], ''),
    () => readInfo(path),
    /what the Nix daemon says of \/nix\/store\/a+-a: /,
  ],
  'an info with a path of another store': [
    encode('', '00'.repeat(32), ['/gnu/store/x'], 0, 0, 0, [], ''),
    () => readInfo(path),
    /it is not in \/nix\/store/,
  ],
  'an info with a bad signature': [
    encode('', '00'.repeat(32), [], 0, 0, 0, ['none'], ''),
    () => readInfo(path),
    /NAME:BASE64/,
  ],
  'a path that is none': [encode('x'), () => readOptionalPath(defaultStoreDir), /store path/],
};

describe('what the daemon says', () => {
  for (const [what, [bytes, message]] of Object.entries(messages))
    test(`can be ${what}`, () => {
      assert.deepEqual(readFrom(bytes, readMessage()), { value: message, left: 0 });
    });

  for (const [what, [bytes, reading, why]] of Object.entries(malformed))
    test(`is malformed with ${what}`, () => {
      const error = { name: 'GranaryError', code: 'malformed', message: why };
      assert.throws(() => readFrom(bytes, reading()), error);
    });

  test('is not over before its end, wherever it is cut', () => {
    for (const [bytes] of Object.values(messages))
      for (let cut = 0; cut < bytes.length; cut++)
        assert.equal(readFrom(bytes.subarray(0, cut), readMessage()), undefined);
  });

  const readings: readonly (() => Reading<unknown>)[] = [
    readMessage,
    readTexts,
    () => readPathInfo(path),
    () => readWelcome(versions.newest),
    () => readPaths(defaultStoreDir),
  ];
  const piece = fc.oneof(
    fc.nat(40).map(number => encode(number)),
    fc.constantFrom(...Object.values(tag)).map(number => encode(number)),
    fc.constantFrom('', path, 'a').map(text => encode(text)),
    fc.uint8Array({ maxLength: 20 }).map(bytes => Buffer.from(bytes)),
    fc.constant(huge),
  );

  test('is a value, or too short, or malformed, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.array(piece), fc.constantFrom(...readings), (pieces, reading) => {
        try {
          readFrom(Buffer.concat(pieces), reading());
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'malformed', String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});
