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
  'corrupt',
  'malformed',
  'untrusted',
  'conflict',
  'absent',
  'usage',
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

/** What the system's errors mean to a person, for files that we write, list or look for. */
const reasons: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOSPC: ['unavailable', 'the disk is full; free some space and run the same command again'],
  EDQUOT: [
    'unavailable',
    'the disk quota is used up; free some space and run the same command again',
  ],
  EROFS: ['usage', 'it is mounted read-only'],
  EACCES: ['usage', 'you may not do that there'],
  EPERM: ['usage', 'you may not do that there'],
  ENOTDIR: ['usage', 'part of this path is a file, not a directory'],
  EISDIR: ['conflict', 'it is a folder'],
  ENAMETOOLONG: ['usage', 'the name is longer than this system allows'],
  ELOOP: ['usage', 'its links lead in a circle'],
  ENOENT: ['absent', 'it is not there'],
};

/** Turns what the system says into a sentence and a code; `doing` follows "Cannot". */
export function systemError(doing: string, error: unknown): GranaryError {
  const { code = '', message } = error as NodeJS.ErrnoException;
  const [kind, why] = reasons[code] ?? ['unavailable', message];
  return new GranaryError(kind, `Cannot ${doing}: ${why}`, { errno: code }, error);
}

/** Does something with the file system; whatever the system refuses is told as `systemError` tells it. */
export function explained<T>(doing: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof GranaryError || !(error as NodeJS.ErrnoException).code) throw error;
    throw systemError(doing, error);
  }
}
