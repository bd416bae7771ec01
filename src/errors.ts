/**
 * One class, seven codes, one table. A lower layer says what failed and keeps the `cause`; the top
 * decides how it looks. Whatever is not a GranaryError is a bug.
 */

export type ErrorCode =
  | 'usage'
  | 'absent'
  | 'malformed'
  | 'corrupt'
  | 'untrusted'
  | 'conflict'
  | 'unavailable';

/** What follows from a code: the exit status, the HTTP status, and whether trying again may help. */
export const errorTable: Readonly<
  Record<ErrorCode, { readonly exit: number; readonly http: number; readonly retry: boolean }>
> = {
  usage: { exit: 2, http: 400, retry: false },
  absent: { exit: 3, http: 404, retry: false },
  malformed: { exit: 4, http: 502, retry: false },
  corrupt: { exit: 5, http: 500, retry: false },
  untrusted: { exit: 6, http: 403, retry: false },
  conflict: { exit: 7, http: 409, retry: false },
  unavailable: { exit: 8, http: 503, retry: true },
};

/** The order in which a command that failed in several ways picks its exit status. */
const gravity: readonly ErrorCode[] = [
  'usage',
  'corrupt',
  'malformed',
  'untrusted',
  'conflict',
  'absent',
  'unavailable',
];

/** Facts beside the sentence, for programs: expected, actual, line, field, byte, path … */
export type ErrorFacts = Readonly<Record<string, string | number | readonly string[]>>;

export class GranaryError extends Error {
  readonly code: ErrorCode;
  readonly facts: ErrorFacts;

  /** `message` is a sentence without its full stop: what failed, on what, and what to do. */
  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'GranaryError';
    this.code = code;
    this.facts = facts;
  }
}

/** The gravest of some codes, or undefined when there is none. */
export function gravest(codes: Iterable<ErrorCode>): ErrorCode | undefined {
  const met = new Set(codes);
  return gravity.find(code => met.has(code));
}
