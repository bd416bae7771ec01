/**
 * A real S3 server: the Object Gateway of Ceph, as one process without a cluster. Debian's, unpacked and run by its own
 * loader; neither root nor chroot is needed. One of a kind for a test process, on loopback; it ends with the process.
 *
 * Neither of its two ways to keep objects without a cluster is right in all: `sqlite` gives out ranges and what came in
 * parts wrongly, and mixes what is replaced while it is read; `files` lists wrong sizes, and loses the parts of what has a
 * dot in its key. So what one gets wrong is tried on the other.
 */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateBucketCommand, PutBucketPolicyCommand, S3Client } from '@aws-sdk/client-s3';
import { GranaryError } from '../../src/errors.ts';
import { debianRoot, loaded } from '../clients/debian-root.ts';
import { scratch, client as user } from '../clients/kept.ts';
import { execute } from '../clients/process.ts';
import { type Front, openFront } from './ceph-front.ts';
import { freePort, startServer } from './server-program.ts';

export interface Ceph {
  /** Whom to ask. */
  readonly front: Front;
  /** What a program needs to know to be let in. */
  readonly env: NodeJS.ProcessEnv;
  /** Who may do everything, and asks the gateway itself. */
  readonly client: S3Client;
  /** A new bucket's name; everybody may read and list a public one. */
  bucket(access?: 'private' | 'public'): Promise<string>;
}

const [accessKey, secretKey] = ['granary-access', 'granary-secret'];
type Kind = 'sqlite' | 'files';
const running = new Map<Kind, Promise<Ceph>>();

export function ceph(kind: Kind = 'sqlite'): Promise<Ceph> {
  const gateway = running.get(kind) ?? startCeph(kind);
  running.set(kind, gateway);
  return gateway;
}

/** Why there is none, for `skip`; false where there is. */
export async function whyNoCeph(): Promise<string | false> {
  try {
    await ceph();
    return false;
  } catch (error) {
    if (error instanceof GranaryError) return `No S3 server to test with: ${error.message}`;
    throw error;
  }
}

async function startCeph(kind: Kind): Promise<Ceph> {
  const root = await debianRoot('sid', ['radosgw']);
  const dir = scratch();
  const port = await freePort();
  const config = join(dir, 'ceph.conf');
  writeFileSync(config, configFor(dir, port) + (kind === 'files' ? filesIn(dir) : ''));
  for (const name of ['db', 'data', 'posix', 'lmdb']) {
    mkdirSync(join(dir, name));
    if (user) chownSync(join(dir, name), user.uid, user.gid);
  }
  const argv = (name: string, ...args: readonly string[]): string[] => [
    ...loaded([root], join(root, 'usr/bin', name), name),
    ...['-c', config, '--no-mon-config', '-n', 'client.rgw'],
    ...args,
  ];
  const keys = [`--access-key=${accessKey}`, `--secret-key=${secretKey}`];
  const named = ['--uid=test', '--display-name=test'];
  const create = argv('radosgw-admin', 'user', 'create', ...named, ...keys);
  for (let tries = 1; ; tries++) {
    const made = await execute(create, { user, timeoutMs: 30_000 }); // seen once: it waited for itself, for ever
    if (made.code === 0 || (tries > 1 && /exists/.test(made.stderr))) break;
    if (tries === 3)
      throw new GranaryError('unavailable', `radosgw-admin failed: ${made.stderr.slice(-500)}`);
  }

  const gatewayUrl = `http://127.0.0.1:${port}`;
  await startServer(argv('radosgw', '-f'), gatewayUrl);
  const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
  const common = { region: 'default', forcePathStyle: true, credentials };
  const client = new S3Client({ ...common, endpoint: gatewayUrl });
  const front = await openFront(gatewayUrl);
  let buckets = 0;
  return {
    front,
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      AWS_ACCESS_KEY_ID: accessKey,
      AWS_SECRET_ACCESS_KEY: secretKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
    client,
    async bucket(access = 'private') {
      const Bucket = `granary-${++buckets}`;
      await client.send(new CreateBucketCommand({ Bucket }));
      if (access === 'public')
        await client.send(new PutBucketPolicyCommand({ Bucket, Policy: publicRead(Bucket) }));
      return Bucket;
    },
  };
}

const publicRead = (bucket: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: ['s3:GetObject', 's3:ListBucket', 's3:GetBucketLocation'],
        Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
      },
    ],
  });

const configFor = (dir: string, port: number): string => `
[global]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
run dir = ${dir}
admin socket =
log to stderr = true
err to stderr = true
[client]
rgw backend store = dbstore
rgw config store = dbstore
dbstore db dir = ${dir}/db
dbstore config uri = file:${dir}/db/config.db
rgw frontends = beast endpoint=127.0.0.1:${port}
rgw data = ${dir}/data
log file = ${dir}/data/log
debug rgw = 0
`;

const filesIn = (dir: string): string => `
rgw filter = posix
rgw posix base path = ${dir}/posix
rgw posix database root = ${dir}/lmdb
`;
