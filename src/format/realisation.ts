/**
 * Realisations: which path an output of a derivation came to be, where only building it tells. Nix 2.4 to 2.34 read
 * them from `realisations/sha256:<hex>!<output>.doi`, and write them so:
 *
 *     {"dependentRealisations":{ID:BASENAME,…},"id":ID,"outPath":BASENAME,"signatures":["NAME:BASE64",…]}
 */
import { GranaryError } from '../errors.ts';
import { parseSignature, type Signature } from './signature.ts';
import { baseName, parseBaseName, type StorePath, storeDirOf } from './store-path.ts';

export interface Realisation {
  /** `sha256:<hex>!<output>`: the hash of a derivation, and the name of its output. */
  readonly id: string;
  readonly path: StorePath;
  /** Those of the references, by their ids. */
  readonly dependsOn: ReadonlyMap<string, StorePath>;
  readonly signatures: readonly Signature[];
}

/** @throws GranaryError `malformed` for an id that can be none, as that of no file */
export function realisationKey({ id }: Pick<Realisation, 'id'>): string {
  if (/^sha256:[0-9a-f]{64}![A-Za-z0-9+._?=-]{1,211}$/.test(id)) return `realisations/${id}.doi`;
  throw new GranaryError('malformed', `Cannot use "${id}" as the id of a realisation`);
}

export const printRealisation = (realisation: Realisation): string =>
  JSON.stringify({
    ...signedPart(realisation),
    signatures: [...new Set(realisation.signatures)].sort(),
  });

/** What a signature of it signs. */
export const realisationFingerprint = (realisation: Realisation): string =>
  JSON.stringify(signedPart(realisation));

/** Its path and signatures; undefined for what says none. */
export function parseRealisation(
  text: string,
  like: StorePath,
): Pick<Realisation, 'path' | 'signatures'> | undefined {
  try {
    const { outPath, signatures = [] } = JSON.parse(text);
    return {
      path: parseBaseName(outPath, storeDirOf(like)),
      signatures: signatures.map(parseSignature),
    };
  } catch {
    return undefined;
  }
}

/** Keys in the order in which Nix's JSON library sorts them. */
function signedPart({ id, path, dependsOn }: Realisation): object {
  const dependent = [...dependsOn].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    dependentRealisations: Object.fromEntries(
      dependent.map(([other, its]) => [other, baseName(its)]),
    ),
    id,
    outPath: baseName(path),
  };
}
