/** The parameters of an s3:// URL: Nix's, of which some mean nothing here, and no others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseS3Url } from '../../src/storage/s3-url.ts';

test('what Nix knows is read or let pass', () => {
  const own = [
    ...['compression=zstd', 'compression-level=3', 'parallel-compression=true', 'trusted=1'],
    ...['write-nar-listing=true', 'index-debug-info=1', 'secret-key=/key', 'secret-keys=/a,/b'],
    ...['local-nar-cache=/tmp', 'store=/nix/store', 'path-info-cache-size=0', 'priority=10'],
    ...['want-mass-query=true', 'system-features=kvm', 'narinfo-compression=br'],
    ...[
      'ls-compression=br',
      'log-compression=br',
      'multipart-upload=true',
      'storage-class=GLACIER',
    ],
    ...['tls-certificate=/c', 'tls-private-key=/k', 'retry-delay=1', 'retry-attempts=3'],
  ];
  const { region, profile, partBytes } = parseS3Url(
    `s3://bucket?region=eu-west-1&profile=me&buffer-size=6291456&${own.join('&')}`,
  );
  assert.deepEqual([region, profile, partBytes], ['eu-west-1', 'me', 6 << 20]);
});

for (const [query, message] of [
  ['regoin=x', /unknown parameter "regoin"; did you mean region=\?$/],
  ['Region=x', /unknown parameter "Region"; did you mean region=\?$/],
  ['multipart-treshold=5', /did you mean multipart-threshold=\?$/],
  ['compresion=zstd', /did you mean compression=\?$/],
  ['path-style=1', /unknown parameter "path-style"; known are region, endpoint, profile, /],
  ['endpoint=https://user:se&cret@host', /it has an unknown parameter; known are/],
] as const)
  test(`?${query} is usage`, () => {
    assert.throws(() => parseS3Url(`s3://bucket/prefix?${query}`), { code: 'usage', message });
  });
