import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { GranaryError } from '../../src/errors.ts';
import { parseContentAddress } from '../../src/format/content-address.ts';
import { encode } from '../../src/format/daemon-wire.ts';
import { sha256 } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { announceNar, hello, readHello, readInfos } from '../../src/format/serve-wire.ts';
import { parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName } from '../../src/format/store-path.ts';
import { readFrom } from './read-from.ts';

const path = parseBaseName(`${'a'.repeat(32)}-a`, defaultStoreDir);
const other = parseBaseName(`${'b'.repeat(32)}-b`, defaultStoreDir);
const drv = parseBaseName(`${'c'.repeat(32)}-a.drv`, defaultStoreDir);
const key = Buffer.alloc(64, 1).toString('base64');

const full: PathInfo = {
  path,
  narHash: sha256('a'),
  narSize: 120,
  references: [path, other],
  deriver: drv,
  ca: parseContentAddress(`fixed:${sha256('b')}`),
  signatures: [parseSignature(`x-1:${key}`)],
};
const bare: PathInfo = {
  path: other,
  narHash: sha256('c'),
  narSize: 96,
  references: [],
  signatures: [],
};
const said = ({ path, deriver, references, narSize, narHash, ca, signatures }: PathInfo): Buffer =>
  encode(path, deriver ?? '', references, narSize, narSize, narHash, ca ?? '', signatures);
const infos = Buffer.concat([said(full), said(bare), encode('')]);

describe('the wire of nix-store --serve', () => {
  test('greets as format says, and knows who greets back', () => {
    assert.equal(hello().toString('hex'), 'eb9d0c3900000000' + '0702000000000000');
    for (const version of [0x205, 0x206, 0x207, 0x208])
      assert.equal(readFrom(encode(0x5452eecb, version), readHello())?.left, 0);
    for (const version of [0x204, 0x300, 0x105])
      assert.throws(() => readFrom(encode(0x5452eecb, version), readHello()), { code: 'usage' });
    assert.throws(() => readFrom(Buffer.from('Welcome to this machine'), readHello()), {
      code: 'malformed',
      message: /it says "Welcome …"/,
    });
  });

  test('reads infos up to their end, and takes no byte more', () => {
    const more = Buffer.concat([infos, Buffer.alloc(3)]);
    assert.deepEqual(readFrom(more, readInfos([path, other], defaultStoreDir)), {
      value: [full, bare],
      left: 3,
    });
    assert.deepEqual(readFrom(encode(''), readInfos([path, other], defaultStoreDir))?.value, []);
  });

  test('announces a NAR with what its narinfo says, and vouches for nothing', () => {
    const registered = 0;
    const ultimate = 0;
    const hex = Buffer.from(sha256('a').slice(7), 'latin1').length;
    assert.equal(hex, 52);
    const [command, ...rest] = [9, path, drv];
    const head = encode(command!, ...(rest as string[]));
    const bytes = announceNar(full);
    assert.ok(bytes.subarray(0, head.length).equals(head));
    const tail = encode([path, other], registered, 120, ultimate, [`x-1:${key}`], full.ca!);
    assert.ok(bytes.subarray(bytes.length - tail.length).equals(tail));
  });

  for (const [what, bytes] of Object.entries({
    'a path that nobody asked for': encode(drv, '', [], 1, 1, sha256('a'), '', []),
    'a path told twice': Buffer.concat([
      infos.subarray(0, infos.length - 8),
      infos.subarray(0, infos.length - 8),
    ]),
    'a path of another store': encode('/other/store/x', '', [], 1, 1, sha256('a'), '', []),
    'no hash': encode(path, '', [], 1, 1, 'sha256:x', '', []),
    'no content address': encode(path, '', [], 1, 1, sha256('a'), 'what', []),
    'no signature': encode(path, '', [], 1, 1, sha256('a'), '', ['what']),
    'a size beyond sense': Buffer.concat([encode(path, '', [], 1), Buffer.alloc(8, 0xff)]),
  }))
    test(`refuses ${what}`, () =>
      assert.throws(() => readFrom(bytes, readInfos([path, other], defaultStoreDir)), {
        code: 'malformed',
      }));

  test('whatever comes is infos, too little, or malformed', () => {
    fc.assert(
      fc.property(
        fc.nat(infos.length - 1),
        fc.uint8Array({ maxLength: 24 }),
        fc.nat(24),
        (at, bytes, skip) => {
          const bent = Buffer.concat([infos.subarray(0, at), bytes, infos.subarray(at + skip)]);
          try {
            readFrom(bent, readInfos([path, other], defaultStoreDir));
          } catch (error) {
            assert.ok(error instanceof GranaryError && error.code === 'malformed', String(error));
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
