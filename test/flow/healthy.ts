/** A small store that exists only for a test, and a whole cache of it. */
import { createHash } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { latin1 } from '../../src/bytes.ts';
import { executeMake } from '../../src/flow/make.ts';
import { planMake, type Source } from '../../src/flow/plan.ts';
import { hashOf } from '../../src/format/hash.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import {
  baseName,
  defaultStoreDir,
  parseStorePath,
  type StorePath,
} from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { addedStore } from '../../src/store/added.ts';
import { dumpTree } from '../../src/store/filesystem.ts';
import { graphStore } from '../../src/store/graph.ts';
import type { Store } from '../../src/store/store.ts';

/** Names of the paths: `app` refers to `lib` and itself, `lib` to `base`; `plain` is content-addressed. */
export type Name = 'base' | 'lib' | 'app' | 'twin' | 'plain';

export interface Healthy {
  readonly cache: string;
  readonly store: Store;
  readonly added: Store;
  readonly paths: Readonly<Record<Name, StorePath>>;
  readonly key: SecretKey;
}

const named = (name: string, digit: string): StorePath =>
  parseStorePath(`${defaultStoreDir}/${digit.repeat(32)}-${name}`, defaultStoreDir);

/** Makes store and cache below `folder`, with listings and signatures. */
export async function makeHealthy(folder: string): Promise<Healthy> {
  const real = join(folder, 'store');
  const base = named('base', '1');
  const lib = named('lib', '2');
  const app = named('app', '3');
  const twin = named('twin', '4'); // the same content as base: the same NAR file
  const write = (path: StorePath, files: Readonly<Record<string, string>>): void => {
    for (const [name, text] of Object.entries(files)) {
      const file = join(real, baseName(path), name);
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, text);
    }
  };
  write(base, { 'share/text': 'text '.repeat(1000) });
  write(twin, { 'share/text': 'text '.repeat(1000) });
  write(lib, { 'lib/lib.so': `code ${base}`.repeat(500), 'lib/other': '' });
  write(app, { 'bin/app': `#!/bin/sh\nexec ${lib} ${app}\n` });
  symlinkSync('app', join(real, baseName(app), 'bin/link'));
  const references: readonly (readonly [StorePath, readonly StorePath[]])[] = [
    [base, []],
    [twin, []],
    [lib, [base]],
    [app, [lib, app]],
  ];
  const infos = references.map(([path, refersTo]) =>
    infoOf(path, refersTo, join(real, baseName(path))),
  );
  const places = { storeDir: defaultStoreDir, real, state: folder };
  const store = graphStore('the test store', { infos, roots: [app, twin] }, places);
  const tree = join(folder, 'plain');
  writeFileSync(tree, 'plain content');
  const added = await addedStore([{ file: tree, name: 'plain' }], defaultStoreDir);
  const key = parseSecretKey(generateKey('test-1').secret, 'test');
  const sources: Source[] = [
    { store, roots: [app, twin] },
    { store: added, roots: added.roots },
  ];
  const cache = join(folder, 'cache');
  const storage = directoryStorage(cache, { flush: false });
  const plan = await planMake(sources, storage, { storeDir: defaultStoreDir, listings: true });
  await executeMake(plan, storage, {
    storeDir: defaultStoreDir,
    compression: 'zstd',
    level: 3,
    listings: true,
    keys: [key],
    cacheInfo: { priority: 30 },
    jobs: 1,
    report: () => {},
  });
  return { cache, store, added, paths: { base, lib, app, twin, plain: added.roots[0]! }, key };
}

function infoOf(path: StorePath, references: readonly StorePath[], tree: string): PathInfo {
  const sum = createHash('sha256');
  let narSize = 0;
  for (const block of dumpTree(latin1(Buffer.from(tree)), {
    block: () => Buffer.alloc(1 << 16),
    listing: false,
  })) {
    sum.update(block);
    narSize += block.length;
  }
  const deriver = parseStorePath(`${path}.drv`, defaultStoreDir);
  return {
    path,
    narHash: hashOf('sha256', sum.digest()),
    narSize,
    references,
    deriver,
    signatures: [],
  };
}
