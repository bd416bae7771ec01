/** A server that is a program of its own: started on loopback, ended with the process that started it. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { GranaryError } from '../../src/errors.ts';
import { client as user } from '../clients/kept.ts';
import { start } from '../clients/process.ts';

/** Starts a program as the clients' user, and waits until something answers at the URL. */
export async function startServer(
  argv: readonly string[],
  url: string,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const server = start(argv, { user, env: { PATH: process.env.PATH, ...env } });
  server.stdin!.end();
  server.stdout!.resume();
  let said = '';
  server.stderr!.on('data', bytes => {
    said = (said + bytes).slice(-2000);
  });
  process.on('exit', () => server.kill('SIGKILL'));
  server.unref();
  for (const pipe of [server.stdout, server.stderr]) (pipe as { unref?(): void }).unref?.();
  for (let waits = 0; !(await answers(url)); waits++) {
    if (waits > 300 || server.exitCode !== null)
      throw new GranaryError('unavailable', `${argv.at(-1)} does not answer: ${said}`);
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

async function answers(url: string): Promise<boolean> {
  try {
    await (await fetch(url)).body?.cancel();
    return true;
  } catch {
    return false;
  }
}
