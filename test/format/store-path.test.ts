import { equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  baseName,
  defaultStoreDir,
  hashPart,
  isStorePathName,
  namePart,
  normalizeStorePath,
  parseBaseName,
  parseStoreDir,
  parseStorePath,
  storeDirOf,
} from '../../src/format/store-path.ts';

const hash = 'n5wkd9frr45pa74if5gpz9j7mifg27fh';
const path = `/nix/store/${hash}-foo`;

test('a store path falls into its store directory, hash and name', () => {
  const dir = parseStoreDir('/gnu/big/store');
  const parsed = parseStorePath(`/gnu/big/store/${hash}-foo-1.0.drv`, dir);
  equal(storeDirOf(parsed), dir);
  equal(baseName(parsed), `${hash}-foo-1.0.drv`);
  equal(hashPart(parsed), hash);
  equal(namePart(parsed), 'foo-1.0.drv');
  equal(parseBaseName(baseName(parsed), dir), parsed);
});

const names = ['a', '-', '0', '.gitignore', '...', '..a', '...-', '.a-', 'A+b-c.d_e?f=g'];
for (const name of [...names, 'x'.repeat(211)])
  test(`a store path may be called ${name.slice(0, 20)}`, () => {
    equal(isStorePathName(name), true);
    equal(parseStorePath(`/nix/store/${hash}-${name}`, defaultStoreDir).endsWith(name), true);
  });

const badNames: Record<string, string> = {
  nothing: '',
  'a dot': '.',
  'two dots': '..',
  'a dot and a dash': '.-a',
  'two dots and a dash': '..-a',
  'a slash': 'a/b',
  'a blank': 'a b',
  'a newline at its end': 'a\n',
  'a NUL': 'a\0',
  'a letter beyond ASCII': '\xe9',
  'a tilde': 'a~',
  '212 bytes': 'x'.repeat(212),
};
for (const [what, name] of Object.entries(badNames))
  test(`a store path cannot be called by ${what}`, () => {
    equal(isStorePathName(name), false);
    throws(() => parseBaseName(`${hash}-${name}`, defaultStoreDir), { code: 'malformed' });
  });

test('a name is judged by its bytes alone', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 12 }), name => {
      const dots = name.split('-', 1)[0];
      const allowed = /^[0-9A-Za-z+._?=-]*$/.test(name) && !name.includes('\n');
      equal(isStorePathName(name), allowed && dots !== '.' && dots !== '..');
    }),
  );
});

const refused: Record<string, [string, RegExp]> = {
  'a path in another store': [`/gnu/store/${hash}-foo`, /it is not in \/nix\/store/],
  'the store directory': ['/nix/store', /it is not in/],
  'the store directory with a slash': ['/nix/store/', /its hash part/],
  'a neighbour of the store': [`/nix/store2/${hash}-foo`, /it is not in/],
  'a relative path': [`nix/store/${hash}-foo`, /it is not in/],
  'a path inside a store path': [`${path}/bin`, /"foo\/bin" is no valid name/],
  'a slash at the end': [`${path}/`, /is no valid name/],
  'two slashes': [`/nix/store//${hash}-foo`, /its hash part/],
  'a dot in the way': [`/nix/./store/${hash}-foo`, /it is not in/],
  'a way up': [`/nix/store/x/../${hash}-foo`, /its hash part/],
  'a hash that is too short': [`/nix/store/${hash.slice(1)}-foo`, /its hash part/],
  'a hash with a letter that is no digit': [`/nix/store/e${hash.slice(1)}-foo`, /its hash part/],
  'a hash in upper case': [`/nix/store/${hash.toUpperCase()}-foo`, /its hash part/],
  'no dash': [`/nix/store/${hash}foo`, /there is no dash/],
  'a hash alone': [`/nix/store/${hash}`, /there is no dash/],
  'no name': [`/nix/store/${hash}-`, /"" is no valid name/],
  nothing: ['', /it is not in/],
};
for (const [what, [text, message]] of Object.entries(refused))
  test(`a store path is not ${what}`, () =>
    throws(() => parseStorePath(text, defaultStoreDir), {
      name: 'GranaryError',
      code: 'malformed',
      message,
    }));

const roundabout: Record<string, string> = {
  'two slashes': `//nix///store//${hash}-foo`,
  dots: `/nix/./store/./${hash}-foo/.`,
  'ways up': `/nix/x/../store/y/z/../../${hash}-foo`,
  'a way above the root': `/../../nix/store/${hash}-foo`,
  'a slash at the end': `${path}/`,
  'its plain form': path,
};
for (const [what, text] of Object.entries(roundabout))
  test(`a store path spelled with ${what} is understood where Nix does`, () =>
    equal(normalizeStorePath(text, defaultStoreDir), path));

for (const text of [`nix/store/${hash}-foo`, `./${path}`, '', `${path}/bin`, `${path}/..`, '/'])
  test(`even then "${text}" is no store path`, () =>
    throws(() => normalizeStorePath(text, defaultStoreDir), {
      code: 'malformed',
      message: text.startsWith('/') ? /in \/nix\/store|valid name/ : /not an absolute path/,
    }));

for (const dir of ['/nix/store', '/a', '/home/me/my store/\xc5\x91', '/..a/...'])
  test(`${dir} can be a store directory`, () => equal(parseStoreDir(dir), dir));

for (const dir of [
  '',
  '/',
  'nix/store',
  '/nix/store/',
  '//nix',
  '/nix/./store',
  '/nix/..',
  '/a\nb',
])
  test(`${JSON.stringify(dir)} cannot be a store directory`, () =>
    throws(() => parseStoreDir(dir), { name: 'GranaryError', code: 'malformed' }));
