/** The map's laws, read off the imports. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { repository } from './granary.ts';

const source = join(repository, 'src');

/** Rooms that a room may import from, besides itself and the files at the top (layer 0). */
const allowed: Readonly<Record<string, readonly string[]>> = {
  format: [],
  store: ['format'],
  storage: ['format'],
  cache: ['storage', 'format'],
  flow: ['cache', 'storage', 'store', 'format'],
  cli: ['flow', 'cache', 'storage', 'store', 'format'],
};
const ground = ['bytes.ts', 'errors.ts', 'nearest.ts', 'version.ts'];

interface Import {
  readonly from: string;
  readonly dynamic: boolean;
  readonly typeOnly: boolean;
}

const files = globSync('**/*.ts', { cwd: source }).filter(file => !file.endsWith('.d.ts'));

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), 'utf8').replace(
    /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm,
    '',
  );
  const fixed = [...text.matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+'([^']+)';/gms)];
  const bare = [...text.matchAll(/^import\s+'([^']+)';/gm)];
  const dynamic = [...text.matchAll(/\bimport\('([^']+)'\)/g)];
  return [
    ...fixed.map(([, type, from]) => ({
      from: from!,
      dynamic: false,
      typeOnly: type !== undefined,
    })),
    ...bare.map(([, from]) => ({ from: from!, dynamic: false, typeOnly: false })),
    ...dynamic.map(([, from]) => ({ from: from!, dynamic: true, typeOnly: false })),
  ];
}

const target = (file: string, from: string): string => join(dirname(file), from);
const roomOf = (file: string): string =>
  file.includes('/') ? file.slice(0, file.indexOf('/')) : '';

test('there is something to read', () => {
  assert.ok(files.length > 40);
  assert.ok(
    importsOf('cli/main.ts').some(({ from, dynamic }) => dynamic && from.endsWith('make.ts')),
  );
  assert.ok(importsOf('flow/make.ts').some(({ from }) => from === '../cache/cache.ts'));
});

test('imports point down only', () => {
  for (const file of files) {
    const room = roomOf(file);
    if (file === 'index.ts') continue; // the public door may open every room
    for (const { from } of importsOf(file).filter(each => each.from.startsWith('.'))) {
      const to = target(file, from);
      const next = roomOf(to);
      if (next === '') assert.ok(ground.includes(to), `${file} imports ${to}`);
      else if (room === '') assert.fail(`${file}, at the ground, imports ${to}`);
      else assert.ok(next === room || allowed[room]?.includes(next), `${file} imports ${to}`);
    }
  }
});

test('every room is one that the map knows', () => {
  assert.deepEqual(
    [...new Set(files.map(roomOf))].filter(Boolean).sort(),
    Object.keys(allowed).sort(),
  );
});

test('format is pure: of Node it takes sums and signatures only', () => {
  for (const file of files.filter(each => roomOf(each) === 'format'))
    for (const { from } of importsOf(file))
      assert.ok(
        from.startsWith('.') ||
          from === 'node:crypto' ||
          (from === 'node:module' && file === 'format/ed25519.ts'), // an optional package
        `${file} imports ${from}`,
      );
});

test('commands do not know each other, and only cli talks to the terminal', () => {
  for (const file of files.filter(each => each.startsWith('cli/commands/')))
    for (const { from } of importsOf(file))
      assert.ok(!from.startsWith('./'), `${file} imports ${from}`);
  for (const file of files.filter(each => roomOf(each) !== 'cli'))
    assert.doesNotMatch(
      readFileSync(join(source, file), 'utf8'),
      /process\.(argv|stdout|stderr|exit)\b|console\./,
      file,
    );
});

test('there are no default exports, and no file is called utils, types or index inside a room', () => {
  for (const file of files) {
    assert.doesNotMatch(readFileSync(join(source, file), 'utf8'), /^export default/m, file);
    assert.doesNotMatch(file, /\/(utils|types|index)\.ts$/);
  }
});

/** All that is loaded when these run, following static imports and those by name within src. */
function loadedBy(
  entries: readonly string[],
  { dynamic }: { dynamic: boolean },
): Map<string, string> {
  const outside = new Map<string, string>();
  const seen = new Set(entries);
  for (const file of seen)
    for (const each of importsOf(file)) {
      if (each.typeOnly || (each.dynamic && !dynamic)) continue;
      if (each.from.startsWith('.')) seen.add(target(file, each.from));
      else if (!each.from.startsWith('node:')) outside.set(each.from, file);
    }
  return outside;
}

test('what runs inside Nix imports nothing outside Node: only xz, buckets and a bar at a terminal do, when asked for', () => {
  const entries = ['cli/nix-builder.ts', 'cli/commands/make.ts', 'flow/pack-worker.ts'];
  assert.deepEqual([...loadedBy(entries, { dynamic: false })], []);
  assert.deepEqual([...loadedBy(entries, { dynamic: true })].sort(), [
    ['@aws-sdk/client-s3', 'storage/s3-client.ts'],
    ['@aws-sdk/lib-storage', 'storage/s3-client.ts'],
    ['cli-progress', 'cli/face.ts'],
    ['lzma-native', 'cache/xz.ts'],
  ]);
});

test('granary --version loads no command and no library', () => {
  const loaded = new Set(['cli/main.ts']);
  for (const file of loaded)
    for (const { from, dynamic, typeOnly } of importsOf(file))
      if (!dynamic && !typeOnly && from.startsWith('.')) loaded.add(target(file, from));
  for (const file of loaded)
    assert.match(file, /^(cli\/[^/]+|errors|nearest|version|bytes)/, relative('', file));
});
