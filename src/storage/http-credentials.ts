/**
 * Who we are to an HTTP server: the user in the URL, else the netrc file's entry for its host, else the token
 * that the environment has for its host, else the netrc file's default. Only the server that the user named is
 * told, and no message ever does.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { explained, GranaryError } from '../errors.ts';

/** Holds `HOST=TOKEN`, or several with blanks between: a copy names two servers, and neither may see the other's. */
export const tokenVariable = 'GRANARY_HTTP_TOKEN';

/** The value of an Authorization header for a URL, which says nothing to other servers than that of `base`. */
export type Credentials = (url: URL) => string | undefined;

/**
 * Credentials for the cache at `base`, whose parameter `netrc-file` may name the file to look into.
 *
 * @throws GranaryError `usage` when that file cannot be read, or a token has no host
 */
export function credentialsFor(base: URL, env: NodeJS.ProcessEnv): Credentials {
  const authorization = authorizationOf(base, env);
  return url => (url.origin === base.origin ? authorization : undefined);
}

function authorizationOf(base: URL, env: NodeJS.ProcessEnv): string | undefined {
  if (base.username !== '' || base.password !== '')
    return basic(decoded(base.username), decoded(base.password));
  const entries = netrcOf(base.searchParams.get('netrc-file'), env);
  const own = entries.find(({ machine }) => machine === base.hostname);
  const token = tokenFor(base, env[tokenVariable] ?? '');
  if (own) return basic(own.login, own.password);
  if (token !== undefined) return `Bearer ${token}`;
  const usual = entries.find(({ machine }) => machine === undefined);
  return usual && basic(usual.login, usual.password);
}

const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

function tokenFor({ host, hostname }: URL, variable: string): string | undefined {
  const tokens = new Map<string, string>();
  for (const part of variable.split(/\s+/).filter(Boolean)) {
    const [, at, token] = /^([^=]+)=([\x21-\x7e]+)$/.exec(part) ?? [];
    if (at === undefined)
      throw new GranaryError(
        'usage',
        `Cannot use ${tokenVariable}: write HOST=TOKEN, with the host that the token is for, and blanks between several`,
      );
    tokens.set(at.toLowerCase(), token!);
  }
  return tokens.get(host) ?? tokens.get(hostname);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a bare percent sign is itself
  }
}

/** One entry; that without a machine is for all. */
interface NetrcEntry {
  readonly machine?: string;
  login: string;
  password: string;
}

function netrcOf(named: string | null, env: NodeJS.ProcessEnv): readonly NetrcEntry[] {
  if (named !== null && named !== '')
    return parseNetrc(explained(`read the netrc file ${named}`, () => readFileSync(named, 'utf8')));
  const usual = env.NETRC || join(env.HOME || homedir(), '.netrc');
  try {
    return parseNetrc(readFileSync(usual, 'utf8'));
  } catch {
    return []; // nobody has asked for it
  }
}

/** Reads what curl reads: words, quoted where they have blanks; macros and comments are passed over. */
export function parseNetrc(text: string): readonly NetrcEntry[] {
  const lines = text.replace(/^[ \t]*#.*$/gm, '');
  const plain = lines.replace(/^[ \t]*macdef\b[\s\S]*?(?:\n[ \t]*\n|$(?![\s\S]))/gm, '\n');
  const words = [...plain.matchAll(/"((?:\\.|[^"\\])*)"|\S+/g)].map(
    ([word, quoted]) => quoted?.replace(/\\(.)/g, unescaped) ?? word,
  );
  const entries: NetrcEntry[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    if (word === 'default') entries.push({ login: '', password: '' });
    else if (word === 'machine')
      entries.push({ machine: words[++at] ?? '', login: '', password: '' });
    else if (word === 'login' || word === 'password') {
      const value = words[++at];
      const entry = entries.at(-1);
      if (entry && value !== undefined) entry[word] = value;
    } else if (word === 'account') at++;
  }
  return entries;
}

const unescaped = (_: string, char: string): string =>
  ({ n: '\n', r: '\r', t: '\t' })[char] ?? char;
