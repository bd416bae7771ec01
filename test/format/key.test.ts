import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseHash } from '../../src/format/hash.ts';
import {
  generateKey,
  holds,
  parsePublicKey,
  parseSecretKey,
  signWith,
} from '../../src/format/key.ts';
import { fingerprint, parseSignature } from '../../src/format/signature.ts';
import { defaultStoreDir, parseStorePath } from '../../src/format/store-path.ts';

const secretText =
  'test-key:tU7tTvLcScf8pmz/eTV0BEtLmRsPpZfKaRcd0nCN+pysBZPHSeg61/u2oc7mIOewfuAY1V1BiX32homTaDJ2Jw==';
const publicText = 'test-key:rAWTx0noOtf7tqHO5iDnsH7gGNVdQYl99oaJk2gydic=';
const secret = parseSecretKey(secretText, 'test');
const store = (name: string) => parseStorePath(`${defaultStoreDir}/${name}`, defaultStoreDir);

test("Nix's own vector: key, fingerprint and signature", () => {
  const path = store('n5wkd9frr45pa74if5gpz9j7mifg27fh-foo');
  const text = fingerprint({
    path,
    narHash: parseHash('sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm'),
    narSize: 34878,
    references: [store('g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar'), path],
  });
  const signature =
    'test-key:tFe9c3/8qL4pd64Q9NmtiTlrlxTnGj3B7cWyE3Di1akgWewhJLAB3D+rt4+yvCFY/CD1j3vmlxBTNJyDWVo6DQ==';
  assert.equal(secret.publicKey.text, publicText);
  assert.equal(signWith(secret, text), signature);
  assert.ok(holds(parseSignature(signature), parsePublicKey(publicText, 'test'), text));
});

test('a generated key signs what its public half believes, and nothing else', () => {
  const texts = generateKey('cache.example.org-1');
  assert.match(texts.secret, /^cache\.example\.org-1:[A-Za-z0-9+/]{86}==$/);
  const [own, shown] = [parseSecretKey(texts.secret, 'x'), parsePublicKey(texts.public, 'x')];
  assert.equal(own.publicKey.text, texts.public);
  fc.assert(
    fc.property(fc.string(), fc.string(), (said, other) => {
      const signature = signWith(own, said);
      assert.ok(holds(signature, shown, said));
      if (said !== other) assert.ok(!holds(signature, shown, other));
      assert.ok(!holds(signature, secret.publicKey, said));
    }),
    { numRuns: 30 },
  );
});

test('a signature of another length under a known name is wrong, not an error', () => {
  const { publicKey } = secret;
  for (const bytes of [1, 63, 65, 4000])
    assert.ok(
      !holds(parseSignature(`test-key:${Buffer.alloc(bytes).toString('base64')}`), publicKey, 'x'),
    );
});

for (const [what, text] of Object.entries({
  'a newline at the end': `${secretText}\n`,
  'CRLF at the end': `${secretText}\r\n`,
  'junk behind the padding': `${secretText} and more\nlines`,
}))
  test(`a secret key with ${what} is read, as Nix reads it`, () => {
    assert.equal(parseSecretKey(text, 'file').publicKey.text, publicText);
  });

const half = Buffer.from(secretText.slice(9), 'base64');
half[40]! ^= 1;
for (const [what, text, why] of [
  ['a leading blank line', `\n${secretText}`, /begins with a blank/],
  ['a leading space', ` ${secretText}`, /begins with a blank/],
  ['nothing in it', '', /no NAME:BASE64/],
  ['no name', secretText.slice(8), /no NAME:BASE64/],
  ['a name with a newline', `a\nb${secretText.slice(8)}`, /blank in it/],
  ['a public key in it', publicText, /it is a public key/],
  ['a byte too few', `test-key:${Buffer.alloc(63).toString('base64')}`, /64 bytes/],
  ['something else than base-64', 'test-key:****', /64 bytes/],
  ['halves of two keys', `test-key:${half.toString('base64')}`, /do not belong together/],
] as const)
  test(`a secret key file with ${what} is refused as usage, and never shown`, () => {
    assert.throws(
      () => parseSecretKey(text, '/etc/key'),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'usage');
        assert.match(error.message, why);
        assert.match(error.message, /\/etc\/key/);
        for (const secretPart of [secretText.slice(9, 40), publicText.slice(9, 40)])
          assert.ok(
            !JSON.stringify(error).includes(secretPart) && !error.message.includes(secretPart),
          );
        return true;
      },
    );
  });

test('a public key file with a secret key in it is refused, and not shown', () => {
  assert.throws(() => parsePublicKey(secretText, 'k'), {
    code: 'usage',
    message: /it is a secret key/,
  });
});

for (const name of ['', 'a b', 'a:b', 'a\nb', '\u007f'])
  test(`a key cannot be named ${JSON.stringify(name)}`, () => {
    assert.throws(() => generateKey(name), { name: 'GranaryError', code: 'usage' });
  });
