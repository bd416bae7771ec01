/** A server that is a program of its own: started on loopback, ended with the process that started it. */
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { GranaryError } from '../../src/errors.ts';
import { client as user } from '../clients/kept.ts';
import { start } from '../clients/process.ts';

/** Starts a program as the clients' user, or as who runs the tests, and waits until something listens at the URL. */
export async function startServer(
  argv: readonly string[],
  url: string,
  { as = 'client' }: { readonly as?: 'client' | 'self' } = {},
): Promise<void> {
  const server = start(argv, { user: as === 'client' ? user : undefined });
  server.stdin!.end();
  server.stdout!.resume();
  let said = '';
  server.stderr!.on('data', bytes => {
    said = (said + bytes).slice(-2000);
  });
  process.on('exit', () => server.kill('SIGKILL'));
  server.unref();
  for (const pipe of [server.stdout, server.stderr]) (pipe as { unref?(): void }).unref?.();
  for (let waits = 0; !(await listens(url)); waits++) {
    if (waits > 300 || server.exitCode !== null)
      throw new GranaryError('unavailable', `${argv.at(-1)} does not listen: ${said}`);
    await setTimeout(100);
  }
}

/** One that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function listens(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise(resolve => {
    const socket = createConnection({ host: hostname, port: Number(port) });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
