/** Key files: read for signing and trusting, written once and never over anything. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { GranaryError } from '../errors.ts';
import { type PublicKey, parsePublicKey, parseSecretKey, type SecretKey } from '../format/key.ts';

/** @throws GranaryError `usage` for a file that cannot be read or holds no secret key */
export function readSecretKey(file: string): SecretKey {
  return parseSecretKey(readKeyFile(file), file);
}

/**
 * Public keys, each as `NAME:BASE64` or in a file.
 *
 * @throws GranaryError `usage` for what is neither, and for two keys of one name: Nix sees only the first
 */
export function readPublicKeys(texts: readonly string[]): readonly PublicKey[] {
  const keys = new Map<string, PublicKey>();
  for (const text of texts) {
    const isFile = existsSync(text) || !text.includes(':');
    const key = isFile
      ? parsePublicKey(readKeyFile(text), text)
      : parsePublicKey(text, `of the name "${text.slice(0, text.indexOf(':'))}"`); // it may be a secret one
    if ((keys.get(key.name) ?? key).text !== key.text)
      throw new GranaryError(
        'usage',
        `Cannot trust two keys of the name ${key.name}: Nix believes only the first of them`,
      );
    keys.set(key.name, key);
  }
  return [...keys.values()];
}

/** @throws GranaryError `conflict` when the file is there already */
export function writeNewFile(file: string, text: string, mode: number): void {
  try {
    writeFileSync(file, text, { flag: 'wx', mode });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST')
      throw new GranaryError(
        'conflict',
        `Cannot write ${file}: it is there already, and a key is never overwritten`,
        { file },
        error,
      );
    throw new GranaryError('usage', `Cannot write ${file}: ${message}`, { file }, error);
  }
}

function readKeyFile(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : message;
    throw new GranaryError('usage', `Cannot read the key file ${file}: ${why}`, { file }, error);
  }
}
