import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { ed25519, findLibsodium, nodeEd25519 } from '../../src/format/ed25519.ts';

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const secretOf = (seed: Buffer, half: Buffer) =>
  createPrivateKey({
    key: {
      kty: 'OKP',
      crv: 'Ed25519',
      d: seed.toString('base64url'),
      x: half.toString('base64url'),
    },
    format: 'jwk',
  });

/** RFC 8032, 7.1: TEST 1 to 3. */
const vectors = [
  {
    seed: hex('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'),
    half: hex('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'),
    message: hex(''),
    signature: hex(
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ),
  },
  {
    seed: hex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb'),
    half: hex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'),
    message: hex('72'),
    signature: hex(
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ),
  },
  {
    seed: hex('c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7'),
    half: hex('fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'),
    message: hex('af82'),
    signature: hex(
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ),
  },
];

const libsodium = findLibsodium();
const makers = Object.entries({ Node: nodeEd25519, ...(libsodium && { libsodium }) });

for (const [name, { sign, verify }] of makers) {
  test(`${name} signs as RFC 8032 does, and refuses any other byte`, () => {
    for (const { seed, half, message, signature } of vectors) {
      assert.deepEqual(sign(message, secretOf(seed, half)), signature);
      assert.ok(verify(signature, message, half));
      for (let at = 0; at < signature.length; at++) {
        const changed = Buffer.from(signature);
        changed[at]! ^= 1;
        assert.ok(!verify(changed, message, half), `byte ${at}`);
      }
      assert.ok(!verify(signature, Buffer.concat([message, hex('00')]), half));
    }
    const [first, second] = vectors;
    assert.ok(!verify(first!.signature, first!.message, second!.half));
  });
}

test('libsodium and Node agree', { skip: libsodium ? false : 'no libsodium here' }, () => {
  const [{ seed, half }] = vectors as [(typeof vectors)[0]];
  const secret = secretOf(seed, half);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.nat(63), fc.nat(255), (bytes, at, flip) => {
      const message = Buffer.from(bytes);
      const signature = nodeEd25519.sign(message, secret);
      assert.deepEqual(libsodium!.sign(message, secret), signature);
      signature[at]! ^= flip;
      const held = nodeEd25519.verify(signature, message, half);
      assert.equal(held, flip === 0);
      assert.equal(libsodium!.verify(signature, message, half), held);
    }),
  );
});

test('where libsodium can be had, it is what signs', () => {
  if (process.platform === 'linux' && process.arch === 'x64') assert.ok(libsodium);
  assert.equal(ed25519() === nodeEd25519, libsodium === undefined);
});
