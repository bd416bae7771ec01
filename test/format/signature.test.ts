import { equal, notEqual, ok, throws } from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseHash } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import {
  fingerprint,
  keyNameOf,
  parseSignature,
  sortedSignatures,
} from '../../src/format/signature.ts';
import { defaultStoreDir, parseBaseName } from '../../src/format/store-path.ts';

const base64 =
  'tFe9c3/8qL4pd64Q9NmtiTlrlxTnGj3B7cWyE3Di1akgWewhJLAB3D+rt4+yvCFY/CD1j3vmlxBTNJyDWVo6DQ==';

const foo = parseBaseName('n5wkd9frr45pa74if5gpz9j7mifg27fh-foo', defaultStoreDir);
const bar = parseBaseName('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar', defaultStoreDir);
const info: PathInfo = {
  path: foo,
  narHash: parseHash('sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm'),
  narSize: 34878,
  references: [foo, bar],
  signatures: [],
};

test("a fingerprint is what Nix's own test key signed", () => {
  equal(
    fingerprint(info),
    '1;/nix/store/n5wkd9frr45pa74if5gpz9j7mifg27fh-foo;' +
      'sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm;34878;' +
      '/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar,' +
      '/nix/store/n5wkd9frr45pa74if5gpz9j7mifg27fh-foo',
  );
  const x = Buffer.from('rAWTx0noOtf7tqHO5iDnsH7gGNVdQYl99oaJk2gydic=', 'base64');
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') },
    format: 'jwk',
  });
  const signature = Buffer.from(base64, 'base64');
  ok(verify(null, Buffer.from(fingerprint(info)), key, signature));
  notEqual(verify(null, Buffer.from(fingerprint({ ...info, narSize: 1 })), key, signature), true);
});

test('a fingerprint without references ends with its semicolon', () => {
  ok(fingerprint({ ...info, references: [] }).endsWith(';34878;'));
});

const spellings: Record<string, [string, string]> = {
  'the usual one': [`key-1:${base64}`, `key-1:${base64}`],
  'no padding': [`k:${base64.slice(0, -2)}`, `k:${base64}`],
  'anything behind the padding': [`k:${base64}junk`, `k:${base64}`],
  'a carriage return behind the padding': [`k:${base64}\r`, `k:${base64}`],
  'spare bits that are set': ['k:AB', 'k:AA=='],
  'a name that is nearly anything': [`a b\xff:${base64}`, `a b\xff:${base64}`],
  'thousands of bytes, of a scheme to come': [`k:${'A'.repeat(6172)}`, `k:${'A'.repeat(6172)}`],
};
for (const [what, [text, written]] of Object.entries(spellings))
  test(`a signature may have ${what}, and is kept as Nix writes it`, () => {
    const signature = parseSignature(text);
    equal(signature, written);
    equal(keyNameOf(signature), text.slice(0, text.indexOf(':')));
  });

const refused: Record<string, string> = {
  nothing: '',
  'no colon': 'k',
  'no name': `:${base64}`,
  'no bytes': 'k:',
  'padding alone': 'k:==',
  'less than a byte': 'k:A',
  'a blank before its bytes': `k: ${base64}`,
  'a second colon': `k:x:${base64}`,
  'base-64 for URLs': 'k:A-_A',
};
for (const [what, text] of Object.entries(refused))
  test(`a signature with ${what} is malformed`, () =>
    throws(() => parseSignature(text), {
      name: 'GranaryError',
      code: 'malformed',
      facts: { field: 'Sig' },
    }));

test('signatures are ordered by key name first, then by bytes and not by base-64', () => {
  const ordered = ['a:AA==', 'a:AAA=', 'a:aaaa', 'a:////', 'a-b:AA==', 'b:AA=='].map(
    parseSignature,
  );
  const byText = [...ordered].sort();
  notEqual(byText.join(), ordered.join());
  equal(sortedSignatures(byText).join(), ordered.join());
});

test('the order of signatures is one: however they came, they are sorted alike', () => {
  const signature = fc
    .tuple(fc.constantFrom('a', 'a-b', 'b'), fc.uint8Array({ minLength: 1, maxLength: 3 }))
    .map(([name, bytes]) => parseSignature(`${name}:${Buffer.from(bytes).toString('base64')}`));
  fc.assert(
    fc.property(fc.uniqueArray(signature), signatures =>
      equal(sortedSignatures(signatures.toReversed()).join(), sortedSignatures(signatures).join()),
    ),
  );
});
