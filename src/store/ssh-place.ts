/** `ssh://[user@]host[:port]?…` with the parameters that Nix knows, as plain data that a thread can be sent. */
import { withoutPassword } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { defaultStoreDir, parseStoreDir, type StoreDir } from '../format/store-path.ts';

export interface SshPlace {
  /** As messages name it: without parameters. */
  readonly url: string;
  /** `[user@]host` */
  readonly destination: string;
  readonly port?: string;
  /** The file of a private key. */
  readonly key?: string;
  readonly compress: boolean;
  /** The program there that is run with `--serve --write`, in words. */
  readonly program: readonly string[];
  /** The store there, as Nix names it. */
  readonly remoteStore?: string;
  readonly storeDir: StoreDir;
}

const known = ['ssh-key', 'compress', 'remote-program', 'remote-store', 'store', 'max-connections'];

/** @throws GranaryError `usage` for what is no such URL */
export function parseSshUrl(name: string): SshPlace {
  const refuse = (why: string): GranaryError =>
    new GranaryError('usage', `Cannot use "${withoutPassword(name)}" as a store: ${why}`);
  const [, user = '', host = '', port, path = '', query = ''] =
    /^ssh:\/\/(?:([^@/?]*)@)?(\[[0-9a-fA-F:.%]+\]|[^:/?[\]]*)(?::(\d+))?([^?]*)(?:\?(.*))?$/s.exec(
      name,
    ) ?? [];
  if (host === '') throw refuse('it names no host, as in ssh://user@host');
  if (path.replace(/^\/$/, '') !== '')
    throw refuse(
      `nothing may follow the host but parameters; a store there is named by "?remote-store="`,
    );
  if (user.includes(':')) throw refuse('it holds a password; ssh asks for that, or takes a key');
  // What begins with a dash would be an option, and what has a blank two words.
  if (/^-|[\s\0]/.test(user) || /^-|[\s\0]/.test(host)) throw refuse('that is no host');
  const given = new URLSearchParams(query.replaceAll('+', '%2B'));
  for (const key of given.keys())
    if (!known.includes(key))
      throw refuse(`it has an unknown parameter "${key}"; known are ${known.join(', ')}`);
  const destination = (user === '' ? '' : `${user}@`) + host.replace(/^\[|\]$/g, '');
  const words = (given.get('remote-program') ?? '').split(/\s+/).filter(Boolean);
  const key = given.get('ssh-key');
  const remoteStore = given.get('remote-store');
  return {
    url: `ssh://${user === '' ? '' : `${user}@`}${host}${port === undefined ? '' : `:${port}`}`,
    destination,
    compress: /^(true|1|yes)$/.test(given.get('compress') ?? ''),
    program: words.length > 0 ? words : ['nix-store'],
    storeDir: parseStoreDir(given.get('store') || defaultStoreDir),
    ...(port === undefined ? {} : { port }),
    ...(key ? { key } : {}),
    ...(remoteStore ? { remoteStore } : {}),
  };
}

/** What came first counts, so the user's own go before it. A host that is gone says nothing. */
const patience = ['ConnectTimeout=30', 'ServerAliveInterval=15', 'ServerAliveCountMax=4'];

/** The words of the command line that runs ssh; `options` are those of NIX_SSHOPTS. */
export function sshWords(place: SshPlace, options = ''): readonly string[] {
  const { destination, port, key, compress, program, remoteStore } = place;
  const store = remoteStore === undefined ? [] : ['--store', remoteStore];
  return [
    ...['ssh', '-x', '-a', '-T'], // no X11, no agent, no terminal there
    ...(key === undefined ? [] : ['-i', key]),
    ...(port === undefined ? [] : ['-p', port]),
    ...(compress ? ['-C'] : []),
    ...options.split(/\s+/).filter(Boolean),
    ...patience.flatMap(option => ['-o', option]),
    ...['--', destination],
    [...program, '--serve', '--write', ...store].map(quoted).join(' '),
  ];
}

/** For the shell on the other side. */
const quoted = (word: string): string =>
  /^[A-Za-z0-9_\-./:=,@%+]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
