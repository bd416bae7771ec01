/** Path infos that refer to each other as a test wishes, with nothing behind them. */
import fc from 'fast-check';
import { sha256 } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { defaultStoreDir, parseStorePath, type StorePath } from '../../src/format/store-path.ts';

/** The path with this number; paths sort as their numbers do. */
export const pathOf = (at: number): StorePath =>
  parseStorePath(`${defaultStoreDir}/${String(at).padStart(32, '0')}-p${at}`, defaultStoreDir);

/** What it could be known by, with references to the paths of these numbers. */
export const infoOf = (at: number, references: readonly number[]): PathInfo => ({
  path: pathOf(at),
  narHash: sha256(`nar ${at}`),
  narSize: 100 + at,
  references: references.map(pathOf).sort(),
  signatures: [],
});

export const mapOf = (infos: readonly PathInfo[]) => new Map(infos.map(info => [info.path, info]));

/** A graph without circles: each path refers to some before it, and perhaps to itself. */
export const graph = fc
  .array(fc.array(fc.nat(30), { maxLength: 5 }), { minLength: 1, maxLength: 30 })
  .map(rows => rows.map((row, at) => infoOf(at, [...new Set(row.filter(to => to <= at))])));
