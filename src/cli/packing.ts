/** How NARs are to be packed, as options say it: NAME, or NAME:LEVEL. */
import { codecFor, codecs, type WritableCompression } from '../cache/codec.ts';
import { GranaryError } from '../errors.ts';
import type { Packing } from '../flow/repack.ts';
import { meant } from './arguments.ts';

/**
 * What a text means that was given to an option.
 *
 * @throws GranaryError `usage`, also for a compression that this machine lacks
 */
export async function parsePacking(option: string, text: string): Promise<Packing> {
  const [, name, after] = /^([^:]*)(?::(.*))?$/s.exec(text)!;
  const names = Object.keys(codecs) as WritableCompression[];
  const compression = names.find(known => known === name);
  const refuse = (why: string): GranaryError =>
    new GranaryError('usage', `Cannot use --${option} ${text}: ${why}`);
  if (compression === undefined)
    throw refuse(`it takes one of ${names.join(', ')}${meant(name!, names, '')}`);
  const { levels } = codecFor(compression);
  if (after !== undefined && !levels) throw refuse(`${compression} has no level`);
  const level = after === undefined || !/^\d+$/.test(after) ? Number.NaN : Number(after);
  if (after !== undefined && !(level >= levels!.min && level <= levels!.max))
    throw refuse(
      `the level of ${compression} is a whole number from ${levels!.min} to ${levels!.max}`,
    );
  if (compression === 'xz') await codecFor('xz').compressPiece!(new Uint8Array(), 0); // or says what lacks
  return { compression, level: after === undefined ? (levels?.usual ?? 0) : level };
}
