/** `s3://BUCKET/PREFIX?…` with the parameters that Nix knows; those of its own that mean nothing here are let pass, and no others. */
import { GranaryError } from '../errors.ts';
import { nearest } from '../nearest.ts';

export interface S3Place {
  readonly bucket: string;
  /** What all keys begin with: empty, or ending in a slash. */
  readonly prefix: string;
  readonly region: string;
  readonly endpoint?: string;
  readonly profile?: string;
  /** Whether the bucket is named in the path, not in the host's name. */
  readonly pathStyle: boolean;
  /** bytes that go in one request; what is bigger goes in parts of `partBytes` */
  readonly wholeBytes: number;
  readonly partBytes: number;
}

/** As Nix's: one URL means one place on every machine. */
export const usualRegion = 'us-east-1';

/** Nix's are 100 and 5 MiB; it streams what it puts whole, and we hold it in memory. */
const [usualWhole, usualPart] = [16 << 20, 8 << 20];
/** What S3 allows. */
const [leastPart, most] = [5 << 20, 5 * 2 ** 30];

/** Parameters that say something here. */
const read = [
  ...['region', 'endpoint', 'profile', 'scheme', 'addressing-style'],
  ...['multipart-threshold', 'multipart-chunk-size', 'buffer-size'],
];
/** These are Nix's: of what it writes, believes and remembers. They change nothing here, so that one URL serves both. */
const passedOver = [
  ...['compression', 'compression-level', 'parallel-compression', 'narinfo-compression'],
  ...['ls-compression', 'log-compression', 'write-nar-listing', 'index-debug-info'],
  ...['secret-key', 'secret-keys', 'local-nar-cache', 'store', 'path-info-cache-size', 'trusted'],
  ...['priority', 'want-mass-query', 'system-features', 'multipart-upload', 'storage-class'],
  ...['tls-certificate', 'tls-private-key', 'retry-delay', 'retry-delay-rate-limited'],
  ...['retry-max-delay', 'retry-attempts'],
];
const known = [...read, ...passedOver];

/** @throws GranaryError `usage` for what is no such URL; a password in it is not repeated */
export function parseS3Url(name: string): S3Place {
  const [, bucket = '', path = '', query = ''] =
    /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/is.exec(name) ?? [];
  const refuse = (why: string): GranaryError =>
    new GranaryError('usage', `Cannot use this s3:// URL as a cache: ${why}`);
  if (bucket.includes('@'))
    throw refuse('it holds credentials; give them by AWS_PROFILE, profile= or the environment');
  if (!/^[a-zA-Z0-9][a-zA-Z0-9._-]{1,}$/.test(bucket))
    throw refuse('it names no bucket, as in s3://my-bucket/prefix?region=eu-west-1');
  const given = new URLSearchParams(query.replaceAll('+', '%2B'));
  for (const key of given.keys())
    if (!known.includes(key)) {
      const meant = nearest(key, known);
      const hint = meant === undefined ? `known are ${read.join(', ')}` : `did you mean ${meant}=?`;
      const named = /^[\w-]+$/.test(key) ? ` "${key}"` : ''; // or it may be half of a password with an & in it
      throw refuse(`it has an unknown parameter${named}; ${hint}`);
    }
  const wordOf = <Word extends string>(key: string, words: readonly Word[]): Word | undefined => {
    const value = given.get(key);
    if (!value) return undefined;
    const word = words.find(each => each === value);
    if (word === undefined) throw refuse(`${key}= is one of ${words.join(', ')}`);
    return word;
  };
  const bytesOf = (keys: readonly string[], usual: number, least: number): number => {
    const key = keys.find(each => given.get(each));
    const text = key === undefined ? '' : given.get(key)!;
    const bytes = text === '' ? usual : /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (bytes >= least && bytes <= most) return bytes;
    throw refuse(`${key}= is a number of bytes from ${least} to ${most}`);
  };
  const scheme = wordOf('scheme', ['https', 'http']) ?? 'https';
  const style = wordOf('addressing-style', ['auto', 'path', 'virtual']) ?? 'auto';
  const endpoint = endpointOf(given.get('endpoint') ?? '', scheme);
  if (endpoint !== undefined && !URL.canParse(endpoint))
    throw refuse('endpoint= is neither a host nor a URL');
  if (endpoint !== undefined && /@/.test(new URL(endpoint).href))
    throw refuse(
      'its endpoint= holds credentials; give them by AWS_PROFILE, profile= or the environment',
    );
  const profile = given.get('profile');
  return {
    bucket,
    prefix: prefixOf(path, refuse),
    region: given.get('region') || usualRegion,
    pathStyle:
      style === 'path' || (style === 'auto' && (endpoint !== undefined || bucket.includes('.'))),
    wholeBytes: bytesOf(['multipart-threshold'], usualWhole, 0),
    partBytes: bytesOf(['multipart-chunk-size', 'buffer-size'], usualPart, leastPart),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile ? { profile } : {}),
  };
}

const endpointOf = (text: string, scheme: string): string | undefined =>
  text === '' ? undefined : /^https?:\/\//.test(text) ? text : `${scheme}://${text}`;

function prefixOf(path: string, refuse: (why: string) => GranaryError): string {
  let parts: string[];
  try {
    parts = decodeURIComponent(path).split('/').filter(Boolean);
  } catch {
    throw refuse('its path is not percent-encoded');
  }
  if (parts.some(part => /^\.{1,2}$/.test(part))) throw refuse('its path climbs');
  return parts.length > 0 ? `${parts.join('/')}/` : '';
}
