/** A NAR, read by us and restored by the newest Nix: what lies there then is that NAR again. */
import { join } from 'node:path';
import { latin1 } from '../../src/bytes.ts';
import { GranaryError } from '../../src/errors.ts';
import { each } from '../../src/flow/each.ts';
import { sha256 } from '../../src/format/hash.ts';
import { NarReader } from '../../src/format/nar-read.ts';
import { dumpTree } from '../../src/store/filesystem.ts';
import { narMutant, narSingles } from '../mutants/nar.ts';
import type { Subject, Verdict } from './differential.ts';
import { remove, scratch } from './kept.ts';
import { freshStore } from './nix.ts';

export const narSubject: Subject = {
  name: 'NAR',
  share: 35,
  cases: [],
  singles: narSingles,
  mutant: narMutant,
  ours: bytes => {
    const reader = new NarReader();
    try {
      reader.push(Buffer.from(bytes, 'latin1'));
      reader.end();
      return { fields: { tree: sha256(bytes.slice(0, reader.offset)) } };
    } catch (error) {
      if (error instanceof GranaryError && error.code === 'malformed')
        return { refused: error.message };
      throw error;
    }
  },
  theirs: async (newest, mutants) => {
    const [store, dir] = [freshStore(), scratch()];
    const verdicts: Verdict[] = [];
    await each(mutants.entries(), 2, async ([at, { bytes }]) => {
      const tree = join(dir, String(at));
      const input = Buffer.from(bytes, 'latin1');
      const { code, stderr } = await newest.run('nix-store', ['--restore', tree], { store, input });
      verdicts[at] = code === 0 ? { fields: { tree: hashOf(tree) } } : { refused: stderr };
      remove(tree);
    });
    return verdicts;
  },
};

/** The hash of the NAR of what lies there. */
function hashOf(tree: string): string {
  const blocks = dumpTree(latin1(Buffer.from(tree)), {
    block: () => Buffer.alloc(2 ** 16),
    listing: false,
  });
  return sha256(Buffer.concat([...blocks]));
}
