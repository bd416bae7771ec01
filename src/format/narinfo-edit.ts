/** Changes to a narinfo's text that leave every other byte where it is. */
import { fieldsOf, type PackedNar } from './narinfo.ts';
import { keyNameOf, parseSignature, type Signature, sortedSignatures } from './signature.ts';

export interface SignatureChanges {
  readonly add: readonly Signature[];
  /** Names of keys whose signatures go, before others are added. */
  readonly drop: readonly string[];
}

/**
 * The text with other signatures. New ones follow the last that is there; where there is none, they come
 * before CA, or last, as Nix would write them.
 */
export function withSignatures(text: string, { add, drop }: SignatureChanges): string {
  const kept = new Set<string>();
  const parts: string[] = [];
  let afterSigs: number | undefined;
  let beforeCa: number | undefined;
  for (const { name, value, start, end } of fieldsOf(text)) {
    if (name === 'Sig') {
      const signature = parseSignature(value);
      if (drop.includes(keyNameOf(signature))) {
        afterSigs ??= parts.length;
        continue;
      }
      kept.add(signature);
    }
    if (name === 'CA') beforeCa ??= parts.length;
    parts.push(text.slice(start, end));
    if (name === 'Sig') afterSigs = parts.length;
  }
  const fresh = sortedSignatures(new Set(add)).filter(signature => !kept.has(signature));
  const at = afterSigs ?? beforeCa ?? parts.length;
  parts.splice(at, 0, ...fresh.map(signature => `Sig: ${signature}\n`));
  return parts.join('');
}

/** The text with another file, told where the first URL stood, in Nix's order. */
export function withFile(text: string, file: PackedNar): string {
  const lines = [
    `URL: ${file.url}\n`,
    `Compression: ${file.compression}\n`,
    ...(file.fileHash === undefined ? [] : [`FileHash: ${file.fileHash}\n`]),
    ...(file.fileSize === undefined ? [] : [`FileSize: ${file.fileSize}\n`]),
  ];
  const parts: string[] = [];
  for (const { name, start, end } of fieldsOf(text)) {
    if (name === 'URL') parts.push(...lines.splice(0));
    if (!ofFile.has(name)) parts.push(text.slice(start, end));
  }
  return parts.join('');
}

const ofFile: ReadonlySet<string> = new Set(['URL', 'Compression', 'FileHash', 'FileSize']);
