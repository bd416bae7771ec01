/** Folders for one test, removed after it. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

/** A fresh folder that everybody may enter; it goes when the test file or the suite around it ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'granary-test-'));
  chmodSync(folder, 0o755);
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
