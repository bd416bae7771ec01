/** A narinfo that is all that a cache has, read by us and by the newest Nix. */
import { GranaryError } from '../../src/errors.ts';
import { type NarInfo, narInfoKey } from '../../src/format/narinfo.ts';
import { baseName, namePart } from '../../src/format/store-path.ts';
import { accepted, foo, read, refused } from '../format/narinfo-cases.ts';
import { narInfoMutant, narInfoSingles } from '../mutants/narinfo.ts';
import type { Subject, Verdict } from './differential.ts';
import { askedOf } from './remembered.ts';

export const narInfoSubject: Subject = {
  name: 'narinfo',
  share: 50,
  cases: Object.entries({ ...accepted, ...refused }).map(([what, [bytes]]) => ({ what, bytes })),
  singles: narInfoSingles,
  mutant: narInfoMutant,
  ours: bytes => {
    const our = ourReading(bytes);
    return our instanceof GranaryError ? { refused: our.message } : { fields: inNixWords(our) };
  },
  theirs: async (newest, mutants) => {
    const paths = mutants.map(({ bytes }) => {
      const our = ourReading(bytes);
      return our instanceof GranaryError ? undefined : our.path;
    });
    const asked = mutants.map(({ bytes }, at) => ({
      files: {
        'nix-cache-info': 'StoreDir: /nix/store\n',
        [narInfoKey(paths[at] ?? foo)]: bytes,
      },
      args: ['path-info', paths[at] ?? foo],
    }));
    const answers = await askedOf(newest, asked, {
      from: 'NARs join BinaryCaches on BinaryCaches.id = NARs.cache where present = 1',
      columns,
    });
    return answers.map(({ code, stderr, row }, at): Verdict => {
      // One that we refuse is asked for by a path that may not be its own: then Nix refuses it too,
      // but only after it has read it.
      const accepted = row && (code === 0 || paths[at] === undefined);
      return accepted ? { fields: row } : { refused: stderr };
    });
  },
};

const columns = [
  ...['namePart', 'NARs.url', 'compression', 'fileHash', 'fileSize', 'narHash', 'narSize'],
  ...['refs', 'deriver', 'sigs', 'ca'],
];

function ourReading(bytes: string): NarInfo | GranaryError {
  try {
    return read(bytes);
  } catch (error) {
    if (error instanceof GranaryError && error.code === 'malformed') return error;
    throw error;
  }
}

/** As Nix remembers it: many things as one text, none as an empty one, and a text ends at its NUL. */
function inNixWords({ file, ...info }: NarInfo): Record<string, string> {
  const fields = {
    namePart: namePart(info.path),
    'NARs.url': file.url,
    compression: file.compression,
    fileHash: file.fileHash ?? '',
    fileSize: String(file.fileSize ?? ''),
    narHash: info.narHash,
    narSize: String(info.narSize),
    refs: info.references.map(baseName).join(' '),
    deriver: info.deriver ? baseName(info.deriver) : '',
    sigs: info.signatures.join(' '),
    ca: info.ca ?? '',
  };
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, value.split('\0', 1)[0]!]),
  );
}
