/** What believers in some keys would say of a narinfo. */
import { heldBy, type PublicKey } from '../format/key.ts';
import type { NarInfo } from '../format/narinfo.ts';
import { fingerprint, keyNameOf } from '../format/signature.ts';
import { type Finding, finding } from './findings.ts';
import { makesItsPath } from './verify-narinfo.ts';

/** Each path has to have `sigsNeeded` signatures by these keys, unless its content address proves it. */
export interface Beliefs {
  readonly keys: readonly PublicKey[];
  readonly sigsNeeded: number;
}

/** Which of its signatures are wrong, and whether they are too few. Without keys, nothing. */
export function* signatureFindings(
  key: string,
  info: NarInfo,
  { keys, sigsNeeded }: Beliefs,
): Generator<Finding> {
  if (keys.length === 0) return;
  const { path, signatures } = info;
  const held = heldBy(keys, signatures, fingerprint(info));
  const names = new Set(keys.map(({ name }) => name));
  for (const [at, signature] of signatures.entries())
    if (!held[at] && names.has(keyNameOf(signature)))
      yield finding(
        'signature-wrong',
        key,
        `The signature of ${path} by ${keyNameOf(signature)} is wrong`,
        path,
      );
  const good = held.filter(Boolean).length; // no two signatures are equal: parseNarInfo saw to that
  if (good < sigsNeeded && !(info.ca !== undefined && makesItsPath(info)))
    yield finding(
      'signature-missing',
      key,
      `${path} has ${good} of the ${sigsNeeded} signatures that are needed`,
      path,
    );
}
