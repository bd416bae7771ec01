/**
 * A real sshd on loopback, Debian's, unpacked and run by its own loader as the clients' user, who is also who logs in. It
 * ends with the process. Where root runs the tests, that user gets a shell in a mount namespace of the sshd's own.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import { freePort, startServer } from '../storage/server-program.ts';
import { debianRoot, loaded } from './debian-root.ts';
import { client, scratch } from './kept.ts';
import type { ClientStore, Nix } from './nix.ts';
import { execute } from './process.ts';

export interface Sshd {
  /** `ssh://user@host:port` */
  readonly url: string;
  /** What a program needs to be let in, with a PATH on which ssh is. */
  readonly env: NodeJS.ProcessEnv;
  /** The same without the key. */
  readonly strange: NodeJS.ProcessEnv;
}

let running: Promise<Sshd> | undefined;

export function sshd(): Promise<Sshd> {
  running ??= startSshd();
  return running;
}

/** Why there is none, for `skip`; false where there is. */
export async function whyNoSshd(): Promise<string | false> {
  try {
    await sshd();
    return false;
  } catch (error) {
    if (error instanceof GranaryError) return `No sshd to test with: ${error.message}`;
    throw error;
  }
}

async function startSshd(): Promise<Sshd> {
  const root = await debianRoot('bookworm', ['openssh-server', 'openssh-client']);
  const at = (program: string): string[] =>
    loaded([root], join(root, program), program.split('/').at(-1)!);
  const dir = scratch();
  const file = (name: string): string => join(dir, name);
  for (const key of ['host', 'user']) {
    const argv = [...at('usr/bin/ssh-keygen'), '-q', '-t', 'ed25519', '-N', '', '-f', file(key)];
    const { code, stderr } = await execute(argv);
    if (code !== 0) throw new GranaryError('unavailable', `ssh-keygen failed: ${stderr}`);
    if (client) chownSync(file(key), client.uid, client.gid);
  }
  copyFileSync(file('user.pub'), file('authorized_keys'));
  const port = await freePort();
  writeFileSync(
    file('sshd_config'),
    [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${file('host')}`,
      `AuthorizedKeysFile ${file('authorized_keys')}`,
      ...['StrictModes no', 'UsePAM no', 'PasswordAuthentication no', 'PidFile none'],
      ...['KbdInteractiveAuthentication no', 'PrintMotd no', 'MaxStartups 3:50:6'],
    ].join('\n'),
  );
  const name = client ? 'nobody' : userInfo().username;
  const argv = [...at('usr/sbin/sshd'), '-r', '-D', '-e', '-f', file('sshd_config')];
  await startServer(client ? withShell(argv, name, dir) : argv, `http://127.0.0.1:${port}`, {
    as: 'self',
  });

  mkdirSync(file('bin'));
  writeFileSync(file('bin/ssh'), `#!/bin/sh\nexec ${at('usr/bin/ssh').join(' ')} "$@"\n`);
  chmodSync(file('bin/ssh'), 0o755);
  const host = readFileSync(file('host.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
  writeFileSync(file('known_hosts'), `[127.0.0.1]:${port} ${host}\n`);
  const mine = file('mine');
  copyFileSync(file('user'), mine); // ssh wants a key of its own user's
  chmodSync(mine, 0o600);
  const config = (name: string, ...lines: readonly string[]): string => {
    writeFileSync(
      file(name),
      [`UserKnownHostsFile ${file('known_hosts')}`, 'BatchMode yes', ...lines].join('\n'),
    );
    return file(name);
  };
  const env = (named: string): NodeJS.ProcessEnv => ({
    PATH: `${file('bin')}:${process.env.PATH}`,
    NIX_SSHOPTS: `-F ${named}`,
  });
  return {
    url: `ssh://${name}@127.0.0.1:${port}`,
    env: env(config('config', `IdentityFile ${mine}`, 'IdentitiesOnly yes')),
    strange: env(config('strange', 'IdentityFile none', 'IdentityAgent none')),
  };
}

/** In a mount namespace in which the user has a shell and is not locked out, as Debian's nobody is. */
function withShell(argv: readonly string[], name: string, dir: string): readonly string[] {
  const [passwd, shadow] = [join(dir, 'passwd'), join(dir, 'shadow')];
  const { uid, gid } = client!;
  writeFileSync(passwd, `root:x:0:0::/root:/bin/sh\n${name}:*:${uid}:${gid}::/:/bin/sh\n`);
  writeFileSync(shadow, `${name}:*:19000:0:99999:7:::\n`);
  const mounts = 'mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/shadow && shift';
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  const script = `${mounts} && exec setpriv "$@"`;
  return ['unshare', '-m', 'sh', '-c', script, passwd, shadow, ...ids, ...argv];
}

/** A program for `?remote-program=` that is this Nix's nix-store on this store. */
export function nixStoreThere(nix: Nix, store: ClientStore): string {
  const file = join(scratch(), 'nix-store');
  const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const env = Object.entries(nix.environment(store)).map(([key, value]) =>
    quoted(`${key}=${value}`),
  );
  const argv = nix.argv('nix-store', []).map(quoted);
  writeFileSync(file, `#!/bin/sh\nexec env -i ${env.join(' ')} ${argv.join(' ')} "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}
