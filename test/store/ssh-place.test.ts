import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSshUrl, sshWords } from '../../src/store/ssh-place.ts';

const serve = 'nix-store --serve --write';
/** So that a host that is gone is noticed; what the user says in NIX_SSHOPTS stands before it, and so counts. */
const patience = ['ConnectTimeout=30', 'ServerAliveInterval=15', 'ServerAliveCountMax=4'].flatMap(
  option => ['-o', option],
);

const words: Readonly<Record<string, readonly [url: string, options: string, words: string[]]>> = {
  'a host': ['ssh://host', '', ['ssh', '-x', '-a', '-T', ...patience, '--', 'host', serve]],
  'a user, a port and a slash': [
    'ssh://me@host:2222/',
    '',
    ['ssh', '-x', '-a', '-T', '-p', '2222', ...patience, '--', 'me@host', serve],
  ],
  'an address of IPv6': [
    'ssh://[::1]:22',
    '',
    ['ssh', '-x', '-a', '-T', '-p', '22', ...patience, '--', '::1', serve],
  ],
  'a key, and compression': [
    'ssh://host?ssh-key=/a%20key&compress=true',
    '',
    ['ssh', '-x', '-a', '-T', '-i', '/a key', '-C', ...patience, '--', 'host', serve],
  ],
  'options of NIX_SSHOPTS': [
    'ssh://host',
    ' -F  /my/config ',
    ['ssh', '-x', '-a', '-T', '-F', '/my/config', ...patience, '--', 'host', serve],
  ],
  'another program': [
    'ssh://host?remote-program=sudo%20/opt/nix/bin/nix-store',
    '',
    [
      'ssh',
      '-x',
      '-a',
      '-T',
      ...patience,
      '--',
      'host',
      'sudo /opt/nix/bin/nix-store --serve --write',
    ],
  ],
  'what a shell there would read otherwise': [
    "ssh://host?remote-program=a;b$(c)'d&remote-store=local%3Froot%3D/x%20y",
    '',
    [
      'ssh',
      '-x',
      '-a',
      '-T',
      ...patience,
      '--',
      'host',
      "'a;b$(c)'\\''d' --serve --write --store 'local?root=/x y'",
    ],
  ],
};
for (const [what, [url, options, expected]] of Object.entries(words))
  test(`ssh is run for ${what}`, () =>
    assert.deepEqual(sshWords(parseSshUrl(url), options), expected));

test('messages name the place without its parameters', () =>
  assert.equal(parseSshUrl('ssh://me@host:22?ssh-key=/secret').url, 'ssh://me@host:22'));

for (const url of [
  'ssh://',
  'ssh://@',
  'ssh://-oProxyCommand=x',
  'ssh://-l@host',
  'ssh://a b',
  'ssh://user:password@host',
  'ssh://host/store',
  'ssh://host:port',
  'ssh://host?remote-progam=x',
  'ssh://host?store=x',
])
  test(`${url} is no store`, () => assert.throws(() => parseSshUrl(url), { name: 'GranaryError' }));

for (const url of ['ssh://user:s3cret@host', 'ssh://user:s3/cret@host', 'ssh://s3cret@host/x'])
  test(`no message repeats the password in ${url}`, () =>
    assert.throws(
      () => parseSshUrl(url),
      (error: Error) => !/s3|cret/.test(error.message) && /…@host/.test(error.message),
    ));
