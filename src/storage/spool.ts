/** Temporary files for what is too big for memory: beside its place where a Storage can, else apart. */
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atExit } from './at-exit.ts';
import type { Body, Storage } from './storage.ts';

export interface Spool extends Disposable {
  /** A file name that is free; `near` is any key of the storage. */
  name(near: string): string;
  /** Removes what may lie under that name. */
  drop(name: string): void;
  /** Forgets a name whose file was put. */
  done(name: string): void;
}

/** Removes, when disposed, the files that no put has moved away. */
export function openSpool(storage: Storage): Spool {
  const names = new Set<string>();
  let made = 0;
  const clean = (): void => {
    for (const name of names) rmSync(name, { force: true });
    if (apart) rmSync(apart, { recursive: true, force: true });
  };
  const dismiss = atExit(clean); // an interrupt, too, takes them along
  const apart = storage.spool ? undefined : mkdtempSync(join(tmpdir(), 'granary-'));
  return {
    name(near) {
      const name = storage.spool?.(near) ?? join(apart!, String(made++));
      names.add(name);
      return name;
    },
    drop(name) {
      names.delete(name);
      rmSync(name, { force: true });
    },
    done(name) {
      names.delete(name);
      if (apart) rmSync(name, { force: true }); // put has copied it
    },
    [Symbol.dispose]() {
      dismiss();
      clean();
    },
  };
}

/** A body whose bytes lie in a spool file, which put may move away. */
export const spooled = (spool: string, size: number): Body => ({
  size,
  spool,
  open: () => createReadStream(spool),
});
