/** What goes wrong between an HTTP server and us, in sentences, which never tell credentials. */
import { GranaryError } from '../errors.ts';

/** The URL as messages show it: neither credentials nor what a signed one carries in its query. */
export const shown = ({ origin, pathname }: URL): string => origin + pathname;

/** A sentence of what could not be done; where it was led elsewhere, with that. */
export function refusal(
  { method, url }: { readonly method: string; readonly url: URL },
  why: string,
  at: URL = url,
  code: 'unavailable' | 'usage' | 'conflict' | 'malformed' = 'unavailable',
): GranaryError {
  const led = at.href === url.href ? '' : ` (redirected to ${shown(at)})`;
  const doing = method === 'PUT' ? 'write' : 'read';
  return new GranaryError(code, `Cannot ${doing} ${shown(url)}${led}: ${why}`, {
    url: shown(url),
  });
}

export const statusText = (status: number): string =>
  `${status} ${process.getBuiltinModule('node:http').STATUS_CODES[status] ?? ''}`.trimEnd();

export const isFine = (status: number): boolean => status >= 200 && status < 300;

/** Of an answer that was given as one: a 403 of who read something there before. */
export const isMissing = (status: number): boolean => [403, 404, 410].includes(status);

/** Of what was to be put. */
export const wrongSize = (url: URL, expected: number, actual?: number): GranaryError =>
  new GranaryError(
    'corrupt',
    `Cannot write ${shown(url)}: the source has another size than it said`,
    { expected, ...(actual === undefined ? {} : { actual }) },
  );

/** What the network says, in words. */
export const reasonOf = (failure: Error): string => meaningOf(failure).why;

/** A connection that was given up. */
export class Stall extends Error {
  constructor(ms: number) {
    super(`nothing moved for ${ms / 1000} s`);
  }
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  EAI_AGAIN: 'its host cannot be looked up now',
  ETIMEDOUT: 'the host does not answer',
  EHOSTUNREACH: 'there is no way to the host',
  ENETUNREACH: 'there is no way to the host',
};

/** What a failed connection means, and whether it may pass. */
export function meaningOf(failure: Error): {
  readonly why: string;
  readonly mayPass: boolean;
  readonly code: 'unavailable' | 'usage';
} {
  const { code = '', message } = failure as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND')
    return { why: 'there is no host of that name', mayPass: false, code: 'unavailable' };
  if (/^EPROTO$|^ERR_SSL/.test(code))
    return { why: `it does not speak TLS as we do (${code})`, mayPass: false, code: 'unavailable' };
  if (/CERT|SIGNATURE|^ERR_TLS/.test(code)) {
    const hint = 'NODE_EXTRA_CA_CERTS may name a file with the certificates to believe';
    const why = `its certificate is not believed (${code}); ${hint}`;
    return { why, mayPass: false, code: 'usage' };
  }
  return { why: words[code] ?? (message || code), mayPass: true, code: 'unavailable' };
}
