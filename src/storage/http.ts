/**
 * A Storage behind an HTTP server: a key is a path below the URL. It gives and takes single values, and cannot
 * be listed: what lies there is known only by name.
 *
 * A value that comes to its end is whole, as far as the server's own words tell; whether it is the right one,
 * hashes and signatures have to say. Puts are as atomic as the server makes them.
 */
import { collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { cut, withoutEncoding } from './content-encoding.ts';
import { credentialsFor } from './http-credentials.ts';
import { type Download, encodingOf, heldBytes, lengthOf, openDownload } from './http-download.ts';
import { discarded, exchanges } from './http-exchange.ts';
import { isFine, isMissing, refusal, shown, statusText, wrongSize } from './http-refusals.ts';
import { putInOrder } from './in-order.ts';
import { Patience, type RetryPolicy, usualRetry } from './retry.ts';
import { servedAs } from './served-as.ts';
import {
  type Body,
  bodyOf,
  checkKey,
  type Found,
  type Span,
  type Stat,
  type Storage,
} from './storage.ts';

export interface HttpOptions {
  /** The most connections at once. */
  readonly connections?: number;
  /** How long nothing may move on a connection until it is given up. */
  readonly stallMs?: number;
  readonly retry?: RetryPolicy;
  /** Where NETRC, HOME and the token are looked up. */
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Opens `http://` or `https://`; nothing is asked yet. Of the parameters, `netrc-file` is ours.
 *
 * @throws GranaryError `usage` when that is no URL, or its credentials cannot be had
 */
export function httpStorage(
  name: string,
  { connections = 25, stallMs = 60_000, retry = usualRetry, env = process.env }: HttpOptions = {},
): Storage {
  const base = parseBase(name);
  const folder = shown(base).replace(/\/+$/, '');
  const credentials = credentialsFor(base, env);
  const ask = exchanges({ connections, stallMs, retry, credentials });
  const urlOf = (key: string): URL => new URL(`${folder}/${encodedKey(key)}`);

  const find = async (url: URL, span?: Span): Promise<Found | undefined> => {
    const found = await openDownload(ask, url, { span, retry });
    if (!found) return undefined;
    const { size, encoding } = found;
    if (encoding === undefined)
      return (size ?? 0) > heldBytes
        ? { size: size!, bytes: found.bytes() }
        : settled(found.bytes());
    if (!span) return settled(decoded(found, url));
    found.drop(); // a span of the encoded bytes is none of the value
    const whole = await openDownload(ask, url, { retry });
    return whole && settled(cut(decoded(whole, url), span));
  };

  /** Where a server does not answer HEAD with a size. */
  const statByGet = async (url: URL): Promise<Stat | undefined> => {
    const found = await openDownload(ask, url, { retry });
    if (!found) return undefined;
    if (found.size !== undefined && found.encoding === undefined) {
      found.drop();
      return { size: found.size };
    }
    let size = 0;
    for await (const chunk of decoded(found, url)) size += chunk.length;
    return { size };
  };

  const storage: Storage = {
    url: folder,
    isFar: true,

    async head(key) {
      const url = urlOf(key);
      const answer = await ask({ method: 'HEAD', url }, new Patience(retry));
      const { status, headers } = answer;
      await discarded(answer);
      if (isMissing(status)) return undefined;
      const size = encodingOf(headers) === undefined ? lengthOf(headers) : undefined;
      if (status !== 200 || size === undefined) return statByGet(url);
      const modified = new Date(headers['last-modified'] ?? '');
      return { size, ...(Number.isNaN(modified.getTime()) ? {} : { modified }) };
    },

    async get(key, span) {
      const url = urlOf(key);
      if (span?.length !== 0) return find(url, span);
      return (await storage.head(key)) && { size: 0, bytes: [] };
    },

    async put(key, body) {
      const url = urlOf(key);
      const answer = await ask(
        {
          method: 'PUT',
          url,
          headers: {
            'content-length': String(body.size),
            'content-type': servedAs(key).type,
          },
          body: await provenWhereSmall(body, url),
        },
        new Patience(retry),
      );
      await discarded(answer);
      if (!isFine(answer.status)) throw unputtable(url, answer.status);
    },

    async publish(entries) {
      for (const { key } of entries) checkKey(key);
      await putInOrder(entries, connections, ({ key, body }) => storage.put(key, body));
    },

    async follow(reference) {
      const url = URL.parse(reference, `${folder}/`);
      if (!url || !/^https?:$/.test(url.protocol) || /[^\x21-\x7e]/.test(reference))
        throw new GranaryError(
          'malformed',
          `Cannot read "${reference}" of ${folder}: it is no URL that leads to an HTTP server`,
        );
      url.username = '';
      url.password = '';
      url.hash = '';
      return find(url);
    },
  };
  return storage;
}

function parseBase(name: string): URL {
  const url = URL.parse(name);
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new GranaryError(
    'usage',
    'Cannot use that http:// or https:// URL as a cache: it is no URL, or has no host',
  );
}

function encodedKey(key: string): string {
  if (!key.isWellFormed()) checkKey(''); // it has no bytes to send
  return checkKey(key).split('/').map(encodeURIComponent).join('/');
}

/** A small body is looked at before anything is sent. */
async function provenWhereSmall(body: Body, url: URL): Promise<Body> {
  if (body.size > heldBytes) return body;
  const bytes = await collect(body.open(), body.size);
  if (bytes?.length === body.size) return bodyOf(bytes);
  throw wrongSize(url, body.size, bytes?.length);
}

function unputtable(url: URL, status: number): GranaryError {
  const told = `the server answers ${statusText(status)}`;
  const question = { method: 'PUT', url } as const;
  if (status === 409 || status === 412) return refusal(question, told, url, 'conflict');
  if (status >= 500 && status !== 501) return refusal(question, told);
  const why =
    status < 400 ? `${told}; name the URL that it leads to` : `${told}; it may take no PUT`;
  return refusal(question, why, url, 'usage');
}

/** What is small is read to its end before anybody sees it. */
async function settled(bytes: AsyncGenerator<Uint8Array>): Promise<Found> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  while (size <= heldBytes) {
    const next = await bytes.next();
    if (next.done) return { size, bytes: chunks };
    size += next.value.length;
    chunks.push(next.value);
  }
  return {
    bytes: (async function* () {
      yield* chunks;
      yield* bytes;
    })(),
  };
}

/** What comes, without the Content-Encoding that it comes in. */
async function* decoded(found: Download, url: URL): AsyncGenerator<Uint8Array> {
  const { encoding } = found;
  if (encoding === undefined) yield* found.bytes();
  else yield* withoutEncoding(encoding, found.bytes(), why => refusal({ method: 'GET', url }, why));
}
