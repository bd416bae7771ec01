/**
 * The bytes of a NAR: one node (a file, a symlink or a directory) and all below it, without times,
 * owners or links.
 *
 *     nar  = str("nix-archive-1") node
 *     node = str("(") str("type") body str(")")
 *     body = str("regular") [ str("executable") str("") ] str("contents") str(bytes)
 *          | str("symlink") str("target") str(target)
 *          | str("directory") { str("entry") str("(") str("name") str(n) str("node") node str(")") }
 *
 * `str(s)` is the length as eight bytes, little end first, then the bytes, then zeros up to a
 * multiple of eight. Words that always follow each other are fused into one token here, so the same
 * grammar is also this, and reader and writer are short and fast at once:
 *
 *     nar  = magic node
 *     node = regular str(bytes) close | executable str(bytes) close | symlink str(target) close
 *          | directory { entry str(n) node-word node close } close
 *
 * Entries of a directory increase strictly, by unsigned bytes. Names and targets are held as
 * latin-1, one char a byte.
 */

/** The tree inside a NAR, flat: a directory's entries follow it, up to its `end`. The root's name is ''. */
export type NarEvent =
  | { readonly type: 'directory'; readonly name: string }
  | { readonly type: 'end' }
  | NarFile
  | { readonly type: 'data'; readonly bytes: Uint8Array }
  | { readonly type: 'symlink'; readonly name: string; readonly target: string };

/** A regular file: exactly `size` bytes of `data` follow; the first of them is byte `offset` of the NAR. */
export interface NarFile {
  readonly type: 'file';
  readonly name: string;
  readonly size: number;
  readonly executable: boolean;
  readonly offset: number;
}

/** What the newest Nix accepts, and so what every NAR is held to: bytes, and nodes from root to leaf. */
export const limits = { name: 255, target: 4095, depth: 64 } as const;

/** How many zeros follow `size` bytes. */
export const padding = (size: number): number => (8 - (size % 8)) % 8;

/** How many bytes `str` of `size` bytes takes. */
export const stringSize = (size: number): number => 8 + size + padding(size);

/** Whether an entry may be called so: 1 to 255 bytes, not `.` or `..`, no slash, no NUL. */
export const isNarName = (name: string): boolean =>
  name.length > 0 &&
  name.length <= limits.name &&
  name !== '.' &&
  name !== '..' &&
  !/[/\0]/.test(name);

/** Whether a symlink may lead there: 1 to 4095 bytes, no NUL. */
export const isNarTarget = (target: string): boolean =>
  target.length > 0 && target.length <= limits.target && !target.includes('\0');

/** Writes a length or size, and returns the position after it. */
export function writeNumber(buffer: Buffer, at: number, value: number): number {
  buffer.writeUInt32LE(value % 2 ** 32, at);
  return buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

/** Writes `str` of a latin-1 text, with its padding, and returns the position after it. */
export function writeString(buffer: Buffer, at: number, text: string): number {
  const start = writeNumber(buffer, at, text.length);
  const end = start + buffer.write(text, start, 'latin1');
  buffer.fill(0, end, end + padding(text.length));
  return end + padding(text.length);
}

/** Some words as they stand in a NAR. */
function fuse(...words: string[]): Buffer {
  const token = Buffer.alloc(words.reduce((size, word) => size + stringSize(word.length), 0));
  words.reduce((at, word) => writeString(token, at, word), 0);
  return token;
}

/** The fused tokens: all of a NAR that is neither a name, a target, nor a file's size and bytes. */
export const tokens = {
  magic: fuse('nix-archive-1'),
  regular: fuse('(', 'type', 'regular', 'contents'),
  executable: fuse('(', 'type', 'regular', 'executable', '', 'contents'),
  symlink: fuse('(', 'type', 'symlink', 'target'),
  directory: fuse('(', 'type', 'directory'),
  entry: fuse('entry', '(', 'name'),
  node: fuse('node'),
  close: fuse(')'),
} as const;

/** The word of a token that byte `at` of it belongs to, and where that begins. */
export function wordAt(
  token: Buffer,
  at: number,
): { readonly start: number; readonly word: string } {
  for (let start = 0; ; ) {
    const length = token.readUInt32LE(start);
    const next = start + stringSize(length);
    if (at < next) return { start, word: token.toString('latin1', start + 8, start + 8 + length) };
    start = next;
  }
}
