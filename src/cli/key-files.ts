/** Key files: read for signing and trusting, written once and never over anything. */
import { readFileSync, writeFileSync } from 'node:fs';
import { GranaryError } from '../errors.ts';
import { parseSecretKey, type SecretKey } from '../format/key.ts';

/** @throws GranaryError `usage` for a file that cannot be read or holds no secret key */
export function readSecretKey(file: string): SecretKey {
  return parseSecretKey(readKeyFile(file), file);
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
