/**
 * A flat cache of many small paths, written without `make`: each with a NAR of its own, real hashes,
 * references to earlier ones, and a signature. The same seed gives the same cache, but for the signatures.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepareCache } from '../../src/cache/cache.ts';
import { sha256 } from '../../src/format/hash.ts';
import { type SecretKey, signWith } from '../../src/format/key.ts';
import { narInfoKey, printNarInfo } from '../../src/format/narinfo.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { fingerprint } from '../../src/format/signature.ts';
import {
  baseName,
  defaultStoreDir,
  parseBaseName,
  type StorePath,
} from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { seeded } from '../random.ts';
import { narOfFile } from './nar-of-file.ts';

interface Wanted {
  readonly seed: number;
  readonly count: number;
  readonly key: SecretKey;
}

/** Writes the same cache into each of the folders, which need not exist. */
export async function writeManyCaches(
  folders: readonly string[],
  { seed, count, key }: Wanted,
): Promise<void> {
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    await prepareCache(directoryStorage(folder, { flush: false }), defaultStoreDir, {});
  }
  const random = seeded(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const paths: StorePath[] = [];
  for (let at = 0; at < count; at++) {
    const nar = narOfFile(`path ${at} of seed ${seed}\n${'text '.repeat(below(100))}`);
    const narHash = sha256(nar);
    const url = `nar/${narHash.slice('sha256:'.length)}.nar`;
    const name = `${sha256(`${seed} ${at}`).slice(-32)}-path-${at}`;
    const path = parseBaseName(name, defaultStoreDir);
    paths.push(path);
    const references = new Set(Array.from({ length: below(6) }, () => paths[below(at + 1)]!));
    const unsigned: PathInfo = {
      path,
      narHash,
      narSize: nar.length,
      references: [...references].sort(),
      deriver: parseBaseName(`${baseName(path)}.drv`, defaultStoreDir),
      signatures: [],
    };
    const info = { ...unsigned, signatures: [signWith(key, fingerprint(unsigned))] };
    const file = { url, compression: 'none', fileHash: narHash, fileSize: nar.length } as const;
    for (const folder of folders) {
      writeFileSync(join(folder, url), nar);
      writeFileSync(join(folder, narInfoKey(path)), printNarInfo(info, file), 'latin1');
    }
  }
}
