/**
 * A value that is read over as many connections as it takes. Where one breaks off, the next goes on from
 * there, if the server can say that it is still the same value (RFC 9110, If-Range); else it begins anew, as
 * long as nobody has seen a byte. So what comes to its end is one version of the value, and all of it.
 *
 * A body of which nobody says where it ends, neither a length nor chunks, is refused: half of it would look
 * like all of it.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { GranaryError } from '../errors.ts';
import { encodingIn } from './content-encoding.ts';
import { type Answer, type Ask, discarded } from './http-exchange.ts';
import { isFine, isMissing, reasonOf, refusal, statusText } from './http-refusals.ts';
import { Patience, type RetryPolicy } from './retry.ts';
import type { Span } from './storage.ts';

/** Values up to this are held until they are whole, and so can begin anew. */
export const heldBytes = 256 * 1024;
/** Whoever brings so much before he fails is worth waiting for. */
const worthBytes = 1 << 20;

export interface Download {
  /** bytes, of what is asked for; undefined when the server does not say it beforehand. */
  readonly size?: number;
  /** The Content-Encoding, where there is one: size and bytes are of what is encoded. */
  readonly encoding?: string;
  /** To be read once. */
  bytes(): AsyncGenerator<Uint8Array>;
  /** Is done with it unread. */
  drop(): void;
}

/** @throws GranaryError as `Ask` does; gives undefined for what is not there */
export async function openDownload(
  ask: Ask,
  url: URL,
  { span, retry }: { readonly span?: Span | undefined; readonly retry: RetryPolicy },
): Promise<Download | undefined> {
  const patience = new Patience(retry);
  const wanted = { url, start: span?.start ?? 0, length: span?.length };
  const first = await partFrom(ask, wanted, 0, patience);
  if (!first) return undefined;
  const { size, encoding, answer } = first;
  return {
    ...(size === undefined ? {} : { size }),
    ...(encoding === undefined ? {} : { encoding }),
    bytes: () => bytesOf(ask, wanted, first, patience),
    drop: () => answer.drop(),
  };
}

interface Wanted {
  readonly url: URL;
  readonly start: number;
  readonly length: number | undefined;
}

/** One answer, as far as it belongs to what is wanted. */
interface Part {
  readonly answer: Answer;
  /** bytes before those that are wanted */
  readonly skip: number;
  /** bytes of what is wanted that it brings, where they are known, and whether it has to end with them */
  readonly brings: number | undefined;
  readonly isExact: boolean;
  /** bytes of all that is wanted, where they are known */
  readonly size: number | undefined;
  readonly encoding: string | undefined;
  /** What to name the version by in If-Range: an ETag, or a date. */
  readonly validator: string | undefined;
}

async function* bytesOf(
  ask: Ask,
  wanted: Wanted,
  first: Part,
  patience: Patience,
): AsyncGenerator<Uint8Array> {
  let part = first;
  let done = 0; // bytes of what is wanted that came
  let fresh = 0; // since the last failure
  const isTold = (first.size ?? 0) > heldBytes; // to who reads it, before it is read
  let held: Uint8Array[] | undefined = isTold ? undefined : [];
  const again = async (validator?: string): Promise<Part> => {
    if (validator === undefined) {
      done = 0;
      held = [];
    }
    const next = await partFrom(ask, wanted, done, patience, validator).catch(error => {
      throw error instanceof GranaryError ? broken(wanted.url, error.message, error) : error;
    });
    return next ?? Promise.reject(broken(wanted.url, 'it went away while it was read'));
  };
  for (;;) {
    const { size, validator } = part;
    const reader = readerOf(part);
    let failure: Error | undefined;
    try {
      for (;;) {
        const chunk = await reader.next().catch((error: Error) => {
          failure = error;
        });
        if (!chunk || chunk.done) break;
        done += chunk.value.length;
        fresh += chunk.value.length;
        held?.push(chunk.value);
        if (held && done <= heldBytes) continue;
        const given = held ?? [chunk.value];
        held = undefined;
        yield* given;
      }
    } finally {
      part.answer.drop();
    }
    if (failure instanceof Excess) throw broken(wanted.url, failure.message);
    if (size === undefined ? !failure : done === size) break;
    const why = failure ? reasonOf(failure) : 'it ended';
    const goesOn = validator !== undefined && done > 0;
    if (!goesOn && !held && done > 0)
      throw broken(
        wanted.url,
        `${why} after ${done} bytes, and the server cannot go on from there`,
      );
    if (fresh > worthBytes) patience.progress();
    fresh = 0;
    await patience.beforeRetry(
      refusal({ method: 'GET', url: wanted.url }, `${why} after ${done} bytes`),
    );
    const next = await again(goesOn ? validator : undefined);
    if (!goesOn || isSame(part, next)) part = next;
    else {
      next.answer.drop();
      if (!held) throw broken(wanted.url, 'it was changed while it was read');
      part = await again();
    }
    if (part.encoding !== first.encoding || (isTold && part.size !== first.size)) {
      part.answer.drop();
      throw broken(wanted.url, 'it was changed while it was read');
    }
  }
  if (held) yield* held;
}

/** What ends a reading: never a word about the value itself, of which nobody knows the rest. */
const broken = (url: URL, why: string, cause?: GranaryError): GranaryError => {
  const { code, message, facts } = refusal({ method: 'GET', url }, why);
  return new GranaryError(
    code,
    cause ? why : `${message}; run the same command again`,
    facts,
    cause,
  );
};

class Excess extends Error {}

/** The bytes of an answer that are wanted; an error of the network as it is. */
async function* readerOf(part: Part): AsyncGenerator<Uint8Array, void> {
  const { answer, isExact, brings = Number.POSITIVE_INFINITY } = part;
  let { skip } = part;
  let left = brings;
  for await (const chunk of answer.bytes) {
    const before = Math.min(skip, chunk.length);
    skip -= before;
    const bytes = chunk.subarray(before, before + Math.min(left, chunk.length));
    left -= bytes.length;
    if (bytes.length > 0) yield bytes;
    if (before + bytes.length === chunk.length) continue;
    if (isExact) throw new Excess('the server sends more bytes than it said');
    return; // the rest is nobody's
  }
}

/** Whether a later answer is of the version of an earlier one. */
const isSame = (old: Part, fresh: Part): boolean =>
  (fresh.validator === old.validator || (fresh.validator === undefined && fresh.skip === 0)) &&
  fresh.encoding === old.encoding &&
  (old.size === undefined || fresh.size === old.size);

/** Asks for what is wanted, from its byte `from` on; undefined when it is not there. */
async function partFrom(
  ask: Ask,
  { url, start, length }: Wanted,
  from: number,
  patience: Patience,
  validator?: string,
): Promise<Part | undefined> {
  const first = start + from;
  const last = length === undefined ? '' : start + length - 1;
  const isPart = first > 0 || length !== undefined;
  const answer = await ask(
    {
      method: 'GET',
      url,
      headers: {
        ...(isPart ? { range: `bytes=${first}-${last}` } : {}),
        ...(validator === undefined ? {} : { 'if-range': validator }),
      },
    },
    patience,
  );
  const { status, headers } = answer;
  const refuse = async (why: string): Promise<never> => {
    answer.drop();
    throw refusal({ method: 'GET', url }, why);
  };
  if (isMissing(status)) {
    await discarded(answer);
    return undefined;
  }
  const about = { encoding: encodingOf(headers), validator: validatorOf(headers), answer };
  const within = (total: number): number =>
    Math.max(0, Math.min(total - start, length ?? Number.POSITIVE_INFINITY));
  if (status === 200) {
    const total = lengthOf(headers);
    if (total === undefined && !/\bchunked\b/i.test(headers['transfer-encoding'] ?? ''))
      return refuse('the server does not say where it ends');
    const size = total === undefined ? undefined : within(total);
    const all = size ?? length;
    const brings = all === undefined ? undefined : Math.max(0, all - from);
    return { ...about, skip: first, size, brings, isExact: length === undefined };
  }
  if (status === 206 && isPart) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(headers['content-range']?.trim() ?? '');
    const [begin, end, total] = (range ?? []).slice(1).map(Number);
    const expected = length === undefined ? Number.POSITIVE_INFINITY : start + length - 1;
    if (begin !== first || end! < begin || end! > expected || total! <= end!)
      return refuse(`the server answers with another part (${headers['content-range'] ?? 'none'})`);
    if (Number.isNaN(total)) return refuse('the server does not say how long it is');
    return { ...about, skip: 0, size: within(total!), brings: end! - begin! + 1, isExact: true };
  }
  if (status === 416 && isPart && from === 0) {
    await discarded(answer);
    const total = /^bytes \*\/(\d+)$/i.exec(headers['content-range']?.trim() ?? '')?.[1];
    if (total === undefined || Number(total) <= first)
      return { ...about, skip: 0, size: 0, brings: 0, isExact: false, encoding: undefined };
  }
  if (status === 416) return refuse('it was changed while it was read; run the same command again');
  answer.drop();
  if (isFine(status) || status < 400 || status >= 500)
    throw refusal({ method: 'GET', url }, `the server answers ${statusText(status)}`);
  throw refusal({ method: 'GET', url }, `the server answers ${statusText(status)}`, url, 'usage');
}

export function lengthOf(headers: IncomingHttpHeaders): number | undefined {
  const length = Number(headers['content-length'] ?? Number.NaN);
  return Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}

export const encodingOf = (headers: IncomingHttpHeaders): string | undefined =>
  encodingIn(headers['content-encoding']);

/** A strong ETag; else a date that is old enough that no second change can share it. */
function validatorOf(headers: IncomingHttpHeaders): string | undefined {
  const { etag, date, 'last-modified': modified } = headers;
  if (etag !== undefined) return etag.startsWith('"') ? etag : undefined;
  const age = Date.parse(date ?? '') - Date.parse(modified ?? '');
  return age >= 60_000 ? modified : undefined;
}
