/** What is packed: real packages, many tiny paths, one big file, many small files. Each is made once and kept. */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type Corpus, debianCorpus, manyPaths, onePath } from '../test/clients/corpus.ts';

/** Some 200 paths, 1 GB: compilers, a debugger, a Java, LLVM, Python. */
export const packages = (): Promise<Corpus> =>
  debianCorpus('packages', [
    ...['build-essential', 'git', 'gdb', 'cmake', 'openjdk-21-jdk-headless'],
    ...['python3-dev', 'libllvm19'],
  ]);

export const many = manyPaths;

/** One file of so many MiB, put together of the programs and libraries of the packages. */
export const oneFile = (mib: number): Promise<Corpus> =>
  onePath(`one-${mib}`, async dir => {
    const fd = openSync(join(dir, 'big'), 'w');
    const total = mib * 2 ** 20;
    let at = 0;
    for (let round = 0; at < total; round++)
      for await (const file of filesOfPackages(size => size >= 1 << 16)) {
        const bytes = readFileSync(file).subarray(0, total - at);
        for (let each = 0; round > 0 && each < bytes.length; each += 4096) bytes[each]! += round; // no two rounds are equal
        for (let from = 0; from < bytes.length; ) from += writeSync(fd, bytes, from);
        at += bytes.length;
        if (at >= total) break;
      }
    closeSync(fd);
  });

/** One path of so many small files, as the packages have them. */
export const smallFiles = (count: number): Promise<Corpus> =>
  onePath(`files-${count}`, async dir => {
    let made = 0;
    while (made < count)
      for await (const file of filesOfPackages(size => size > 0 && size < 1 << 13)) {
        const folder = join(dir, String(Math.floor(made / 500)));
        if (made % 500 === 0) mkdirSync(folder);
        writeFileSync(join(folder, String(made)), readFileSync(file));
        if (++made === count) break;
      }
  });

async function* filesOfPackages(fits: (size: number) => boolean): AsyncGenerator<string> {
  const { real, paths } = await packages();
  for (const path of paths)
    for (const entry of readdirSync(real(path), { recursive: true, withFileTypes: true }).sort(
      (a, b) => (join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1),
    )) {
      const file = join(entry.parentPath, entry.name);
      if (entry.isFile() && fits(statSync(file).size)) yield file;
    }
}
