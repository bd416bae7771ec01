/** What `granary diff` shows of a path of which two caches say different things: the value of each. */
import { readable } from '../bytes.ts';
import type { Difference, Different } from '../flow/diff.ts';
import type { NarInfo } from '../format/narinfo.ts';
import type { Face } from './face.ts';
import { bytesText } from './units.ts';

export function showDifferent({ path, in: parts, first, second }: Different, face: Face): void {
  const values = (info: NarInfo) => ({
    ...Object.assign({}, ...parts.map(part => valuesOf[part](info))),
    ...sizesOf(info),
  });
  face.show(
    {
      type: 'path',
      path,
      state: 'different',
      in: parts,
      first: values(first),
      second: values(second),
    },
    [`~ ${path}  ${parts.join(', ')}`, ...parts.flatMap(part => lines(part, first, second))].join(
      '\n',
    ),
  );
}

/** What a path weighs, for programs. */
export const sizesOf = ({ narSize, file }: NarInfo) => ({
  narSize,
  fileSize: file.fileSize ?? null,
});

/** The same for people. */
export const sizesText = ({ narSize, file }: NarInfo): string =>
  file.fileSize === undefined
    ? bytesText(narSize)
    : `${bytesText(narSize)}, file ${bytesText(file.fileSize)}`;

const valuesOf: Readonly<Record<Difference, (info: NarInfo) => object>> = {
  narHash: ({ narHash }) => ({ narHash }),
  references: ({ references }) => ({ references }),
  signatures: ({ signatures }) => ({ signatures }),
  deriver: ({ deriver }) => ({ deriver: deriver ?? null }),
  ca: ({ ca }) => ({ ca: ca ?? null }),
  file: ({ file }) => ({ compression: file.compression, fileHash: file.fileHash ?? null }),
};

const textOf: Readonly<Record<Difference, (info: NarInfo) => readonly string[]>> = {
  narHash: ({ narHash, narSize }) => [`${narHash}, ${bytesText(narSize)}`],
  references: ({ references }) => references,
  signatures: ({ signatures }) => signatures.map(readable),
  deriver: ({ deriver = 'none' }) => [deriver],
  ca: ({ ca = 'none' }) => [ca],
  file: ({ file: { compression, fileHash = 'no FileHash', fileSize } }) => [
    `${compression}, ${fileHash}, ${fileSize === undefined ? 'no FileSize' : bytesText(fileSize)}`,
  ],
};

/** Of lists what only one has. */
function lines(part: Difference, first: NarInfo, second: NarInfo): readonly string[] {
  const [ours, theirs] = [textOf[part](first), textOf[part](second)];
  const [here, there] = [new Set(ours), new Set(theirs)];
  return [
    ...ours.filter(each => !there.has(each)).map(each => `    - ${part}: ${each}`),
    ...theirs.filter(each => !here.has(each)).map(each => `    + ${part}: ${each}`),
  ];
}
