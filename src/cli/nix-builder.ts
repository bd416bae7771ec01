/**
 * The builder of nix/mk-binary-cache.nix: reads the derivation's structured attributes and runs
 * `granary make` on the references graph in them. Nothing here may need more than Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import { main } from './main.ts';

interface Attributes {
  readonly outputs: { readonly out: string };
  readonly compression: string;
  readonly level: number | null;
  readonly listings: boolean;
  readonly priority: number | null;
  readonly wantMassQuery: boolean;
}

// In the sandbox of old versions of Nix the variable names a file outside of it.
const named = process.env.NIX_ATTRS_JSON_FILE;
const file = named !== undefined && existsSync(named) ? named : './.attrs.json';
const attributes = JSON.parse(readFileSync(file, 'utf8')) as Attributes;
const { outputs, compression, level, listings, priority, wantMassQuery } = attributes;
const cores = Number(process.env.NIX_BUILD_CORES ?? 0);

process.exitCode = await main([
  'make',
  ...['--graph', file, '--to', outputs.out, '--compression', compression],
  '--no-flush', // whether it is safe on disk is Nix's own affair, after the build
  ...(cores > 0 ? ['--jobs', String(cores)] : []),
  ...(level === null ? [] : ['--level', String(level)]),
  ...(priority === null ? [] : ['--priority', String(priority)]),
  ...(listings ? ['--listings'] : []),
  ...(wantMassQuery ? ['--want-mass-query'] : []),
]);
