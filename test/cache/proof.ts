/**
 * What must hold of a cache at every moment, checked from its files alone and with little of our own
 * code: each narinfo reads, names a file that has the size and hash it states and holds the NAR that
 * it states, and each reference has a narinfo.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { codecFor } from '../../src/cache/codec.ts';
import { hashOf } from '../../src/format/hash.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir, hashPart } from '../../src/format/store-path.ts';
import { isTemporaryKey } from '../../src/storage/storage.ts';

/** What is wrong with the cache in `dir`, a sentence each; and how many narinfos it has. */
export async function proofOf(dir: string): Promise<{ faults: string[]; narInfos: number }> {
  const faults: string[] = [];
  const keys = readdirSync(dir).filter(name => name.endsWith('.narinfo'));
  const present = new Set(keys);
  for (const key of keys) {
    const info = parseNarInfo(readFileSync(join(dir, key), 'latin1'), defaultStoreDir);
    if (key !== `${hashPart(info.path)}.narinfo`) faults.push(`${key} is of ${info.path}`);
    for (const reference of info.references)
      if (!present.has(`${hashPart(reference)}.narinfo`)) faults.push(`${key} lacks ${reference}`);
    const file = readFileSync(join(dir, info.file.url));
    if (file.length !== info.file.fileSize) faults.push(`${key}: FileSize`);
    if (sum([file]) !== info.file.fileHash) faults.push(`${key}: FileHash`);
    const nar = await Array.fromAsync(
      codecFor(info.file.compression).decompress([file], info.narSize),
    );
    if (sum(nar) !== info.narHash) faults.push(`${key}: NarHash`);
  }
  return { faults, narInfos: keys.length };
}

/** The SHA-256 of every file below `dir`, by name; temporaries too. */
export function contentOf(dir: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    files[file.slice(dir.length + 1)] = sum([readFileSync(file)]);
  }
  return Object.fromEntries(Object.entries(files).sort());
}

export const temporariesIn = (dir: string): string[] =>
  Object.keys(contentOf(dir)).filter(isTemporaryKey);

function sum(chunks: readonly Uint8Array[]): string {
  const digest = createHash('sha256');
  for (const chunk of chunks) digest.update(chunk);
  return hashOf('sha256', digest.digest());
}
