/** Logs of builds, as Nix keeps them on this machine: plain, or compressed by bzip2. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, copyFileSync, existsSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { GranaryError, systemError } from '../errors.ts';
import { baseName, type StorePath } from '../format/store-path.ts';

/** The file below a log directory that has the log of a derivation's build, where Nix looks for it. */
export function logFileIn(dir: string, derivation: StorePath): string | undefined {
  const name = baseName(derivation);
  return [join(dir, 'drvs', name.slice(0, 2), name.slice(2)), join(dir, 'drvs', name)]
    .flatMap(file => [file, `${file}.bz2`])
    .find(existsSync);
}

/**
 * Writes a log as plain text into a file that is not there yet; gives its size. What decompresses it is the program
 * bzip2, as Node has nothing that does.
 *
 * @throws GranaryError `corrupt` for a file that does not decompress, `absent` without the program, `unavailable` for
 * what cannot be read or written
 */
export async function unpackLog(file: string, to: string): Promise<number> {
  try {
    if (file.endsWith('.bz2')) await decompress(file, to);
    else copyFileSync(file, to);
    return statSync(to).size;
  } catch (error) {
    if (error instanceof GranaryError || !(error as NodeJS.ErrnoException).code) throw error;
    throw systemError(`copy the build log ${file}`, error);
  }
}

async function decompress(file: string, to: string): Promise<void> {
  const out = openSync(to, 'wx');
  let from: number | undefined;
  try {
    from = openSync(file, 'r');
    const child = spawn('bzip2', ['-dc'], { stdio: [from, out, 'pipe'] });
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', text => {
      said += text;
    });
    const [status] = await once(child, 'close').catch(error => {
      throw new GranaryError(
        'absent',
        `Cannot read the build log ${file}: the program bzip2 cannot be started; install it`,
        {},
        error,
      );
    });
    if (status === 0) return;
    const why = said.trim().split('\n')[0] || `bzip2 ends with ${status}`;
    throw new GranaryError('corrupt', `Cannot read the build log ${file}: ${why}`, { file });
  } finally {
    if (from !== undefined) closeSync(from);
    closeSync(out);
  }
}
