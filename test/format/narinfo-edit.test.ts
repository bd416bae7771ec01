import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { withFile, withSignatures } from '../../src/format/narinfo-edit.ts';
import { parseSignature } from '../../src/format/signature.ts';

const sig = (name: string, bytes = 'x'): ReturnType<typeof parseSignature> =>
  parseSignature(`${name}:${Buffer.from(bytes.padEnd(64)).toString('base64')}`);
const head = 'StorePath: /nix/store/x\nURL: nar/x\n';

for (const [what, text, changes, expected] of [
  [
    'comes last where there is neither Sig nor CA',
    head,
    { add: [sig('a')], drop: [] },
    `${head}Sig: ${sig('a')}\n`,
  ],
  [
    'comes before CA',
    `${head}CA: x\n`,
    { add: [sig('a')], drop: [] },
    `${head}Sig: ${sig('a')}\nCA: x\n`,
  ],
  [
    'follows the last one',
    `${head}Sig: ${sig('b')}\nX: y\n`,
    { add: [sig('a')], drop: [] },
    `${head}Sig: ${sig('b')}\nSig: ${sig('a')}\nX: y\n`,
  ],
  [
    'is not added twice',
    `${head}Sig: ${sig('a')}\n`,
    { add: [sig('a')], drop: [] },
    `${head}Sig: ${sig('a')}\n`,
  ],
  [
    'takes the place of a dropped one',
    `${head}Sig: ${sig('a')}\nX: y\n`,
    { add: [sig('b')], drop: ['a'] },
    `${head}Sig: ${sig('b')}\nX: y\n`,
  ],
  [
    'goes by its whole name',
    `${head}Sig: ${sig('a-1')}\nSig: ${sig('a')}\n`,
    { add: [], drop: ['a'] },
    `${head}Sig: ${sig('a-1')}\n`,
  ],
  [
    'goes with all others of that name',
    `${head}Sig: ${sig('a')}\nY: z\nSig: ${sig('a', 'y')}\n`,
    { add: [], drop: ['a'] },
    `${head}Y: z\n`,
  ],
] as const)
  test(`a signature ${what}`, () => {
    assert.equal(withSignatures(text, changes), expected);
  });

const name = fc.constantFrom('a', 'b', 'a-1');
const signature = fc
  .tuple(name, fc.string({ maxLength: 3 }))
  .map(([key, text]) => sig(key, `${text.length}`));
const field = fc.oneof(
  signature.map(each => `Sig: ${each}\n`),
  fc.constantFrom(
    'X: y\n',
    'CA: fixed:x\n',
    '\nHidden: z\n',
    'Odd:value\n',
    'References: a b\n',
    '\xff: \xfe\n',
  ),
);

test('whatever the narinfo, all that is no signature stays byte for byte, and the same again changes nothing', () => {
  fc.assert(
    fc.property(fc.array(field), fc.array(signature), fc.array(name), (fields, add, drop) => {
      const text = fields.join('');
      const changed = withSignatures(text, { add, drop });
      const others = (whole: string): string => whole.replace(/^Sig: .*\n/gm, '');
      assert.equal(others(changed), others(text));
      assert.equal(withSignatures(changed, { add, drop: [] }), changed);
      for (const each of add) assert.ok(changed.includes(`Sig: ${each}\n`));
      for (const each of drop) {
        const left = [...changed.matchAll(/^Sig: (.*)\n/gm)].filter(([, value]) =>
          value!.startsWith(`${each}:`),
        );
        assert.ok(left.every(([, value]) => add.some(one => one === value)));
      }
    }),
  );
});

const file = { url: 'nar/y', compression: 'none', fileSize: 1 } as const;
const fileLines = 'URL: nar/y\nCompression: none\nFileSize: 1\n';
for (const [what, text, expected] of [
  ['stands where the URL stood', 'A: b\nURL: nar/x\nC: d\n', `A: b\n${fileLines}C: d\n`],
  [
    'takes all lines of the old one along, wherever they are',
    'FileSize: 2\nURL: x\nSig: a:b\nFileHash: z\nURL: y\nCompression: xz\nCA: c\n',
    `${fileLines}Sig: a:b\nCA: c\n`,
  ],
  [
    'leaves what only looks like a line of it',
    'URL: x\nReferences:\nFileSize: 5\n\nFileSize: 5\nfilesize: 5\n',
    `${fileLines}References:\nFileSize: 5\n\nFileSize: 5\nfilesize: 5\n`,
  ],
] as const)
  test(`another file ${what}`, () => {
    assert.equal(withFile(text, file), expected);
  });
