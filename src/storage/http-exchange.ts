/**
 * One question to an HTTP server and its answer: over few connections at once, through redirects, and as
 * often as it takes. Nothing waits for ever: a connection on which nothing moves is given up.
 *
 * Bytes are given as they come: no content encoding is undone here, and a body that breaks off is an error,
 * as Node tells of each that has less than its length, or lacks its last chunk.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { finished } from 'node:stream';
import type { GranaryError } from '../errors.ts';
import { version } from '../version.ts';
import { type Credentials, tokenVariable } from './http-credentials.ts';
import { isFine, meaningOf, refusal, Stall, statusText, wrongSize } from './http-refusals.ts';
import { type Patience, type RetryPolicy, retryAfterMs } from './retry.ts';
import type { Body } from './storage.ts';

interface Question {
  readonly method: 'GET' | 'HEAD' | 'PUT';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Body;
}

export interface Answer {
  /** None that is a redirect, asks for credentials, or may pass. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** To be read once; an error of the network is thrown as it is. */
  readonly bytes: AsyncGenerator<Uint8Array>;
  /** Is done with it, whatever of it was read. */
  drop(): void;
}

/** Asks, and asks again what may pass. */
export type Ask = (question: Question, patience: Patience) => Promise<Answer>;

export interface ExchangeSettings {
  /** The most at once. */
  readonly connections: number;
  /** How long nothing may move on a connection. */
  readonly stallMs: number;
  readonly retry: RetryPolicy;
  readonly credentials: Credentials;
}

const mostRedirects = 10;

/**
 * @throws GranaryError from what it gives: `usage` where access is refused, `malformed` where redirects have no end,
 * `unavailable` where all failed
 */
export function exchanges({ connections, stallMs, retry, credentials }: ExchangeSettings): Ask {
  const slots = new Slots(connections);
  /** A bucket that nobody may list answers 403 for what is not there: so does Nix take it, once a value was read. */
  let hasGiven = false;
  // An import would be 25 ms of every command: it reads all exports, and one of them is a WebSocket.
  const http = process.getBuiltinModule('node:http');
  const https = process.getBuiltinModule('node:https');
  const agents = {
    'http:': new http.Agent({ keepAlive: true, maxFreeSockets: connections }),
    'https:': new https.Agent({ keepAlive: true, maxFreeSockets: connections }),
  };

  const exchange = async (url: URL, question: Question): Promise<Answer | Failure> => {
    const release = await slots.take();
    const { method, headers, body } = question;
    const authorization = credentials(url);
    return new Promise((resolve, reject) => {
      const protocol = url.protocol as keyof typeof agents;
      const request = (protocol === 'https:' ? https : http).request(url, {
        method,
        agent: agents[protocol],
        headers: {
          ...headers,
          'user-agent': `granary/${version}`,
          'accept-encoding': 'identity',
          ...(authorization === undefined ? {} : { authorization }),
        },
      });
      const timer = setTimeout(() => request.destroy(new Stall(stallMs)), stallMs);
      const end = (): void => {
        clearTimeout(timer);
        release();
      };
      request.on('error', error => {
        end();
        resolve({ failure: error });
      });
      request.once('close', () => {
        end(); // an answer that is none, such as another protocol, is no error for Node
        resolve({ failure: new Error('it hung up') });
      });
      request.once('response', response => {
        clearTimeout(timer);
        response.on('error', () => {}); // who reads it hears of it
        finished(response, () => {
          release();
          if (!request.writableFinished) request.destroy(); // it answered before it had all
        });
        if (body && !request.writableEnded && isFine(response.statusCode!)) {
          response.destroy();
          resolve({ failure: new Error('it answered before it had all') });
        } else resolve(answerOf(response, stallMs));
      });
      if (!body) request.end();
      else
        send(request, { url, body }, () => timer.refresh()).catch(error => {
          end();
          request.destroy();
          reject(error);
        });
    });
  };

  const attempt = async (question: Question): Promise<Answer | Again> => {
    const cannot = (why: string, url: URL, code: Parameters<typeof refusal>[3] = 'unavailable') =>
      refusal(question, why, url, code);
    const astray = (what: string, url: URL) =>
      cannot(`${what}; name the URL where the cache lies, or mend the server`, url, 'malformed');
    const seen = new Set<string>();
    for (let { url } = question; ; ) {
      if (seen.has(url.href)) throw astray('its redirects lead in a circle', url);
      if (seen.size > mostRedirects)
        throw astray(`there are more than ${mostRedirects} redirects`, url);
      seen.add(url.href);
      const answer = await exchange(url, question);
      if ('failure' in answer) {
        const { why, mayPass, code } = meaningOf(answer.failure);
        const error = cannot(why, url, code);
        if (mayPass) return { again: error };
        throw error;
      }
      const { status, headers } = answer;
      if (isRedirect(status, question)) {
        await discarded(answer);
        const next = target(headers.location, url);
        if (typeof next === 'string') throw cannot(next, url);
        url = next;
        continue;
      }
      const isRead = question.method !== 'PUT';
      if (isRead && isFine(status)) hasGiven = true;
      const isRefused = isAccess(status) && !(status === 403 && isRead && hasGiven);
      if (!isRefused && !passing.has(status)) return answer;
      const told = statusText(status);
      await discarded(answer);
      if (isRefused) throw cannot(`access is refused (${told}); ${advice}`, url, 'usage');
      const error = cannot(`the server answers ${told}`, url);
      const afterMs = retryAfterMs(headers['retry-after'], retry.clock.now()) ?? 0;
      return { again: error, afterMs };
    }
  };

  return async (question, patience) => {
    for (;;) {
      const answer = await attempt(question);
      if (!('again' in answer)) return answer;
      await patience.beforeRetry(answer.again, answer.afterMs);
    }
  };
}

/** Reads what is left of a short answer, so that its connection can be used again. */
export async function discarded(answer: Answer): Promise<void> {
  let room = 64 << 10;
  try {
    for await (const chunk of answer.bytes) {
      room -= chunk.length;
      if (room < 0) break;
    }
  } catch {
    // nobody wanted it
  }
}

interface Failure {
  readonly failure: Error;
}

interface Again {
  readonly again: GranaryError;
  readonly afterMs?: number;
}

/** RFC 9110, and 425 of RFC 8470. */
const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

const isAccess = (status: number): boolean => status === 401 || status === 403 || status === 407;
const advice = `give credentials in a netrc file (~/.netrc, or "?netrc-file=FILE" at the URL's end) or a token in ${tokenVariable}`;

/** A PUT follows where it may stay one. */
const isRedirect = (status: number, { method }: Question): boolean =>
  status === 307 || status === 308 || (method !== 'PUT' && status >= 301 && status <= 303);

/** Where a redirect leads, or why it is not followed. */
function target(location: string | undefined, from: URL): URL | string {
  const next = URL.parse(location ?? '', from.href);
  if (location === undefined || !next) return 'its redirect leads nowhere';
  if (next.protocol !== 'https:' && next.protocol !== from.protocol)
    return `its redirect leads to ${next.protocol}, which is not followed`;
  next.username = '';
  next.password = '';
  next.hash = '';
  return next;
}

function answerOf(response: IncomingMessage, stallMs: number): Answer {
  // Who is handed an answer and never reads it must not keep its connection for ever.
  const forgotten = setTimeout(() => response.destroy(), stallMs).unref();
  const bytes = async function* (): AsyncGenerator<Uint8Array> {
    clearTimeout(forgotten);
    let timer: NodeJS.Timeout | undefined;
    const stalled = (): void => void response.destroy(new Stall(stallMs));
    try {
      timer = setTimeout(stalled, stallMs);
      for await (const chunk of response) {
        clearTimeout(timer); // a reader may take its time
        yield chunk;
        timer = setTimeout(stalled, stallMs);
      }
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    status: response.statusCode!,
    headers: response.headers,
    bytes: bytes(),
    drop() {
      clearTimeout(forgotten);
      response.destroy();
    },
  };
}

/** Sends the body; a body that is not what it says fails before its last byte is sent. Ends when nobody listens. */
async function send(
  request: ClientRequest,
  { url, body }: { readonly url: URL; readonly body: Body },
  moved: () => void,
): Promise<void> {
  const { size } = body;
  let sent = 0;
  let last: Uint8Array = new Uint8Array();
  let hasAnswer = false;
  request.once('response', () => {
    hasAnswer = true;
  });
  for await (const chunk of body.open()) {
    if (hasAnswer || request.destroyed) return;
    if (chunk.length === 0) continue;
    sent += chunk.length;
    if (sent > size) break;
    if (sent === size) last = Buffer.from(chunk);
    else if (!(await written(request, chunk))) return;
    moved();
  }
  if (sent !== size) throw wrongSize(url, size, sent);
  request.end(last);
}

/** Whether the chunk went out: it may be used again after that. */
const written = (request: ClientRequest, chunk: Uint8Array): Promise<boolean> =>
  new Promise(done => {
    const gone = (): void => done(false);
    request.once('close', gone);
    request.write(chunk, error => {
      request.off('close', gone);
      done(!error);
    });
  });

/** So many at once; who comes later waits its turn. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** Gives what ends the turn, once or more often. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>(turn => this.#waiting.push(turn));
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    };
  }
}
