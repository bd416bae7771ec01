/**
 * The client for a bucket. Credentials come from where every AWS tool has them (environment, profile, SSO, web
 * identity, container, instance); where there are none, requests are not signed, as a public bucket needs it.
 * The SDK tries each request five times with growing pauses. It is loaded by the first request.
 */
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import type { S3Place } from './s3-url.ts';

export interface Opened {
  readonly client: S3Client;
  readonly sdk: typeof import('@aws-sdk/client-s3');
  readonly Upload: typeof import('@aws-sdk/lib-storage').Upload;
  /** Whether credentials were found. */
  readonly isSigned: boolean;
}

/** A connection on which nothing moves for so long is given up. */
const stallMs = 60_000;

/** @throws the SDK's own error when a named profile is not there, or its credentials cannot be had */
export async function openClient(place: S3Place): Promise<Opened> {
  const [sdk, { Upload }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('@aws-sdk/lib-storage'),
  ]);
  const { region, endpoint, profile, pathStyle } = place;
  const config: S3ClientConfig = {
    region,
    forcePathStyle: pathStyle,
    maxAttempts: 5,
    requestHandler: { connectionTimeout: 10_000, socketTimeout: stallMs },
    // Not all that speaks S3 knows its newer checksums; a signed request covers its body by SHA-256.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    logger: { trace() {}, debug() {}, info() {}, warn() {}, error() {} }, // our terminal is not its
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile === undefined ? {} : { profile }),
  };
  const client = new sdk.S3Client(config);
  const isNamed = (profile ?? process.env.AWS_PROFILE) !== undefined; // what is named has to be there
  if (isNamed || (await hasCredentials(client))) return { client, sdk, Upload, isSigned: true };
  const unsigned = new sdk.S3Client({
    ...config,
    credentials: { accessKeyId: '', secretAccessKey: '' }, // it asks for some before it does not sign
    signer: { sign: async request => request },
  });
  return { client: unsigned, sdk, Upload, isSigned: false };
}

async function hasCredentials(client: S3Client): Promise<boolean> {
  try {
    await client.config.credentials();
    return true;
  } catch (error) {
    if ((error as Error).name === 'CredentialsProviderError') return false;
    throw error;
  }
}
