/** A nix-cache-info, read by us and by the newest Nix, whose store directory is /nix/store. */
import { GranaryError } from '../../src/errors.ts';
import { parseCacheInfo } from '../../src/format/cache-info.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { cacheInfoMutant, cacheInfoSingles } from '../mutants/cache-info.ts';
import type { Subject, Verdict } from './differential.ts';
import { askedOf } from './remembered.ts';

export const cacheInfoSubject: Subject = {
  name: 'nix-cache-info',
  share: 15,
  cases: [],
  singles: cacheInfoSingles,
  mutant: cacheInfoMutant,
  ours: bytes => {
    try {
      const { storeDir = defaultStoreDir, wantMassQuery, priority } = parseCacheInfo(bytes);
      if (storeDir !== defaultStoreDir) return { refused: `a cache of ${storeDir}` };
      return {
        fields: { wantMassQuery: String(Number(wantMassQuery)), priority: String(priority) },
      };
    } catch (error) {
      if (error instanceof GranaryError && error.code === 'malformed')
        return { refused: error.message };
      throw error;
    }
  },
  theirs: async (newest, mutants) => {
    const asked = mutants.map(({ bytes }) => ({
      files: { 'nix-cache-info': bytes },
      args: ['store', 'info'],
    }));
    const answers = await askedOf(newest, asked, {
      from: 'BinaryCaches',
      columns: ['wantMassQuery', 'priority'],
    });
    return answers.map(({ row, stderr }): Verdict => (row ? { fields: row } : { refused: stderr }));
  },
};
