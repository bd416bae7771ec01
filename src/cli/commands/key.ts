/** `granary key`: makes keys, and shows the public half of one. */
import { rmSync } from 'node:fs';
import { GranaryError } from '../../errors.ts';
import { generateKey } from '../../format/key.ts';
import type { Arguments } from '../arguments.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { readSecretKey, writeNewFile } from '../key-files.ts';

export const key: Command = {
  usage: `granary key generate NAME --out FILE
granary key public FILE`,
  about: `Makes a signing key: the secret in FILE (mode 0600), its public half in FILE.pub. Or prints the
public half of a secret key. The files are Nix's own format, both ways.`,
  options: { out: { value: 'FILE', help: 'where the new secret key goes; never overwritten' } },
  notes: `NAME is what clients see, by custom like cache.example.org-1. A new key needs a new name: of two
public keys with one name, Nix believes the first that it is told.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const [verb, word, ...more] = args.words;
  if (word === undefined || more.length > 0 || (verb !== 'generate' && verb !== 'public'))
    throw new GranaryError(
      'usage',
      'Cannot run "granary key" so: write "granary key generate NAME --out FILE" or "granary key public FILE"',
    );
  const text = verb === 'generate' ? generate(word, args.last('out'), face) : show(word, face);
  face.show({ type: 'summary', ok: true, exit: 0, publicKey: text });
  return 0;
}

function generate(name: string, out: string | undefined, face: Face): string {
  if (out === undefined)
    throw new GranaryError(
      'usage',
      'Cannot generate a key without --out: name the file for the secret',
    );
  const key = generateKey(name);
  writeNewFile(out, key.secret, 0o600);
  try {
    writeNewFile(`${out}.pub`, key.public, 0o644);
  } catch (error) {
    rmSync(out); // half a pair is of no use, and would stand in the way of the next try
    throw error;
  }
  face.show({ type: 'note', message: `Wrote ${out} and ${out}.pub` }, key.public);
  return key.public;
}

function show(file: string, face: Face): string {
  const { text } = readSecretKey(file).publicKey;
  face.show({ type: 'note', message: `The public half of ${file}` }, text);
  return text;
}
