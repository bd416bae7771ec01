/** A Nix daemon that takes paths in, as slowly and as unwillingly as a test wants. */
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import {
  encode,
  infoParts,
  operations,
  type Reading,
  readInfo,
  readNumber,
  readText,
  readTexts,
} from '../../src/format/daemon-wire.ts';
import { sha256 } from '../../src/format/hash.ts';
import type { PathInfo } from '../../src/format/path-info.ts';
import { defaultStoreDir, parseStorePath, type StorePath } from '../../src/format/store-path.ts';
import { type DaemonStore, daemonStore } from '../../src/store/daemon.ts';
import { type FakeDaemon, fakeDaemon, last, refusing, type Talk } from './fake-daemon.ts';

interface Wish {
  /** Why a path is refused, in the daemon's words. */
  readonly refuses?: (info: PathInfo) => string | undefined;
  /** Is told of a path whose info came; may end the daemon. */
  readonly meets?: (info: PathInfo, daemon: FakeDaemon) => void;
  /** How long it takes to add one. */
  readonly ms?: number;
}

export interface ReceivingDaemon extends FakeDaemon {
  readonly store: DaemonStore;
  /** What it has, in the order in which it came. */
  readonly valid: Map<StorePath, PathInfo>;
  /** The paths of each exchange. */
  readonly batches: StorePath[][];
}

export async function receivingDaemon(wish: Wish = {}): Promise<ReceivingDaemon> {
  const valid = new Map<StorePath, PathInfo>();
  const batches: StorePath[][] = [];
  const fake = await fakeDaemon(async (talk, daemon) => {
    for (;;) {
      const operation = await talk.read(readNumber());
      if (operation === operations.queryValidPaths) {
        const asked = await talk.read(readTexts());
        assert.equal(await talk.read(readNumber()), 0, 'substitutes nothing');
        await talk.write(last, encode(asked.filter(path => valid.has(path as StorePath))));
      } else if (operation === operations.queryPathInfo) {
        const info = valid.get((await talk.read(readText())) as StorePath);
        await talk.write(last, info ? encode(1, ...infoParts(info)) : encode(0));
      } else if (operation === operations.addMultipleToStore) {
        for (const what of ['repair', 'trust'])
          assert.equal(await talk.read(readNumber()), 0, what);
        const batch: StorePath[] = [];
        batches.push(batch);
        const frames = new Framed(talk);
        const words = await receive(frames, daemon, batch);
        await talk.write(words === undefined ? last : refusing(words));
        if (words !== undefined) while ((await frames.next()) > 0); // it was on its way
      } else assert.fail(`operation ${operation}`);
    }
  });

  async function receive(
    frames: Framed,
    daemon: FakeDaemon,
    batch: StorePath[],
  ): Promise<string | undefined> {
    const count = await frames.read(readNumber());
    for (let at = 0; at < count; at++) {
      const path = parseStorePath(await frames.read(readText()), defaultStoreDir);
      const info = await frames.read(readInfo(path));
      batch.push(path);
      assert.ok(!valid.has(path), `${path} comes only once`);
      wish.meets?.(info, daemon);
      const why = wish.refuses?.(info);
      if (why !== undefined) return why;
      for (const reference of info.references)
        if (reference !== path && !valid.has(reference)) return `path '${reference}' is not valid`;
      if (sha256(await frames.take(info.narSize)) !== info.narHash) return 'hash mismatch';
      if (wish.ms !== undefined) await setTimeout(wish.ms);
      valid.set(path, info);
    }
    assert.equal(await frames.next(), 0, 'nothing follows');
    return undefined;
  }

  const places = { storeDir: defaultStoreDir, real: '/nix/store', state: '/no/state' };
  return { ...fake, valid, batches, store: daemonStore(places, fake.socket) };
}

/** What comes in frames. */
class Framed {
  readonly #talk: Talk;
  #rest = Buffer.alloc(0);

  constructor(talk: Talk) {
    this.#talk = talk;
  }

  /** The size of the next frame, which is taken in. */
  async next(): Promise<number> {
    const size = await this.#talk.read(readNumber());
    this.#rest = Buffer.concat([this.#rest, await this.#talk.take(size)]);
    return size;
  }

  async take(size: number): Promise<Buffer> {
    while (this.#rest.length < size) assert.ok((await this.next()) > 0, 'it goes on');
    const bytes = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return bytes;
  }

  async read<T>(reading: Reading<T>): Promise<T> {
    let next = reading.next();
    while (!next.done) next = reading.next(await this.take(next.value));
    return next.value;
  }
}
