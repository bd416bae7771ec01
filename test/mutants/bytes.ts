/** Bytes bent without regard to any grammar. */
import { below, pick, type Random, some } from './mutant.ts';

const numbers = ['\0', '\x01', '\x7f', '\x80', '\xff', '\xff'.repeat(8), `${'\0'.repeat(7)}\x80`];
const longest = 2 ** 17;

/** Changes by chance, in one to four places. */
export const bent = (random: Random, bytes: string): string =>
  some(random, bends, 4).reduce((before, bend) => bend(before, random).slice(0, longest), bytes);

/** Anything at all, and short. */
export const noise = (random: Random): string =>
  String.fromCharCode(...Array.from({ length: below(random, 200) }, () => below(random, 256)));

const bends: readonly ((bytes: string, random: Random) => string)[] = [
  (bytes, random) =>
    put(bytes, below(random, bytes.length), String.fromCharCode(below(random, 256))),
  (bytes, random) => put(bytes, below(random, bytes.length), pick(random, numbers)),
  (bytes, random) => {
    const at = below(random, bytes.length);
    return put(
      bytes,
      at,
      String.fromCharCode((bytes.charCodeAt(at) || 0) ^ (1 << below(random, 8))),
    );
  },
  (bytes, random) => {
    const at = below(random, bytes.length);
    return bytes.slice(0, at) + bytes.slice(at + 1 + below(random, 16));
  },
  (bytes, random) => {
    const at = below(random, bytes.length + 1);
    return bytes.slice(0, at) + pick(random, numbers) + bytes.slice(at);
  },
  (bytes, random) => {
    const [from, at] = [below(random, bytes.length), below(random, bytes.length + 1)];
    return bytes.slice(0, at) + bytes.slice(from, from + below(random, 64)) + bytes.slice(at);
  },
  (bytes, random) => bytes.slice(0, below(random, bytes.length + 1)),
  (bytes, random) => bytes + noise(random),
];

const put = (bytes: string, at: number, over: string): string =>
  bytes.slice(0, at) + over + bytes.slice(at + over.length);
