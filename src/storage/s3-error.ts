/** What S3, its SDK and the network say, as sentences that name the bucket and never a secret. */
import { type ErrorCode, GranaryError } from '../errors.ts';
import type { S3Place } from './s3-url.ts';

/** What answers is no S3, or something is between. */
export class NotS3 extends Error {}

/** What an error means, if it is one of S3, its SDK or the network; any other is given back as it is. `doing` follows "Cannot". */
export function explainedS3(
  error: unknown,
  doing: string,
  { bucket, endpoint }: S3Place,
  isSigned: boolean,
): unknown {
  if (error instanceof GranaryError) return error;
  const place = `the bucket "${bucket}"${endpoint === undefined ? '' : ` at ${new URL(endpoint).host}`}`;
  const notS3 = notS3In(error);
  if (notS3 !== undefined)
    return new GranaryError(
      'malformed',
      `Cannot ${doing} in ${place}: what answers there is no S3: ${notS3}; check endpoint=`,
      { bucket },
      error,
    );
  const names = namesOf(error);
  const known = [...(isSigned ? [] : unsignedReasons), ...reasons];
  const [, code, why] = known.find(([pattern]) => names.some(name => pattern.test(name))) ?? [];
  if (code === undefined && names.length < 2) return error; // a bug of ours
  return new GranaryError(
    code ?? 'unavailable',
    `Cannot ${doing} in ${place}: ${why ?? (error as Error).message}`,
    { bucket },
    error,
  );
}

/** The SDK tells of what it cannot read in words for programmers. */
function notS3In(error: unknown): string | undefined {
  if (error instanceof NotS3) return error.message;
  const { message = '' } = error as Partial<Error>;
  return /Deserialization error/.test(message) ? 'its answer cannot be read' : undefined;
}

type Reason = readonly [pattern: RegExp, code: ErrorCode, why: string];

const noCredentials =
  'no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile by profile=';

/** What a request that was not signed comes to. */
const unsignedReasons: readonly Reason[] = [
  [
    /^(AccessDenied|Forbidden|403)$/,
    'usage',
    `access is denied to who does not say who it is, and ${noCredentials}`,
  ],
];

/** By the error's name, its system code or the status of the answer. */
const reasons: readonly Reason[] = [
  [/^NoSuchBucket$/, 'absent', 'there is no such bucket; make it first, or name another'],
  [/^(CredentialsProviderError|TokenProviderError)$/, 'usage', noCredentials],
  [
    /^(InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|TokenRefreshRequired)$/,
    'usage',
    'the server does not accept the credentials; renew them, or name another profile by profile=',
  ],
  [
    /^(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraintException|301)$/,
    'usage',
    'it lies in another region; name that by region=',
  ],
  [
    /^(AccessDenied|AllAccessDisabled|Forbidden|403)$/,
    'usage',
    'access is denied; these credentials need s3:ListBucket, s3:GetObject and, to write, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload',
  ],
  [
    /^(ENOTFOUND|EAI_AGAIN)$/,
    'unavailable',
    'its host has no address; check endpoint= and region=',
  ],
  [
    /^(ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|EPIPE|ETIMEDOUT|TimeoutError)$/,
    'unavailable',
    'the server cannot be reached; check endpoint= and the network, and run the same command again',
  ],
  [
    /^(PreconditionFailed|412)$/,
    'unavailable',
    'it was replaced while it was read; run the same command again',
  ],
  [
    /^(SlowDown|ServiceUnavailable|InternalError|5\d\d)$/,
    'unavailable',
    'the server is busy or failing; run the same command again later',
  ],
];

/** Its own name, its system code and the status of the answer, as far as it has them. */
function namesOf(error: unknown): readonly string[] {
  const { name, code, $metadata } = error as Error & {
    readonly code?: unknown;
    readonly $metadata?: { readonly httpStatusCode?: number };
  };
  return [name, code, $metadata && ($metadata.httpStatusCode ?? 'SDK')]
    .filter(each => each !== undefined)
    .map(String);
}
