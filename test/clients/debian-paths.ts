/**
 * Debian packages as finished store paths, one a package. A path names those it depends on, and
 * itself where it has programs, in its nix-support folder, as nixpkgs' do; an edge that would close
 * a cycle is left out, for Nix has none.
 */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import { unpackDeb } from './debian-root.ts';
import { execute } from './process.ts';

export interface DebianPath {
  readonly path: string;
  readonly package: string;
  readonly references: readonly string[];
}

/** Unpack each of `debs` into a store path below `dir`, dependencies first. */
export async function makeDebianPaths(debs: readonly string[], dir: string): Promise<DebianPath[]> {
  const made = new Map<string, DebianPath>();
  for (const one of dependenciesFirst(await Promise.all(debs.map(readControl)))) {
    const needed = one.needs.map(need => made.get(need)!.path).sort();
    made.set(one.name, await makePath(one, needed, dir));
  }
  return [...made.values()];
}

interface Control {
  readonly deb: string;
  readonly name: string;
  readonly version: string;
  readonly provides: readonly string[];
  /** One of each inner list is needed. */
  readonly depends: readonly (readonly string[])[];
}

interface Package extends Control {
  /** Names of packages that come earlier in the order. */
  readonly needs: readonly string[];
}

async function readControl(deb: string): Promise<Control> {
  const field = async (name: string): Promise<string> =>
    (await execute(['dpkg-deb', '-f', deb, name])).stdout.trim();
  const name = await field('Package');
  if (name === '') throw new GranaryError('malformed', `Cannot read the package ${deb}`);
  const groups = `${await field('Depends')},${await field('Pre-Depends')}`.split(',');
  return {
    deb,
    name,
    version: await field('Version'),
    provides: (await field('Provides')).split(',').map(bareName),
    depends: groups.map(group => group.split('|').map(bareName)),
  };
}

/** `libc6:any (>= 2.38)` is libc6. */
const bareName = (term: string): string => term.trim().split(/[ :(]/)[0]!;

function dependenciesFirst(controls: readonly Control[]): Package[] {
  const provider = new Map<string, Control>();
  for (const one of controls) for (const name of one.provides) provider.set(name, one);
  for (const one of controls) provider.set(one.name, one);
  const order = new Map<string, Package>();
  const open = new Set<string>();
  const visit = (one: Control): void => {
    if (open.has(one.name)) return;
    open.add(one.name);
    const needs = new Set<string>();
    for (const alternatives of one.depends) {
      const found = alternatives.map(name => provider.get(name)).find(known => known);
      if (!found) continue;
      visit(found);
      if (order.has(found.name)) needs.add(found.name);
    }
    order.set(one.name, { ...one, needs: [...needs] });
  };
  controls.forEach(visit);
  return [...order.values()];
}

async function makePath(
  { deb, name, version }: Package,
  needed: readonly string[],
  dir: string,
): Promise<DebianPath> {
  const full = `${name}-${version}`.replace(/[^A-Za-z0-9+\-._?=]/g, '-');
  const path = `/nix/store/${digest([full, ...needed].join('\n'))}-${full}`;
  const real = join(dir, path);
  const support = join(real, 'nix-support');
  mkdirSync(support, { recursive: true });
  await unpackDeb(deb, real);
  writeFileSync(join(support, 'propagated-build-inputs'), needed.map(one => `${one}\n`).join(''));
  if (!existsSync(join(real, 'usr/bin'))) return { path, package: name, references: needed };
  writeFileSync(join(support, 'setup-hook'), `export PATH=${path}/usr/bin:$PATH\n`);
  return { path, package: name, references: [...needed, path].sort() };
}

/** 32 of the characters of a store path's digest. Any will do: nothing is built from them. */
const digest = (text: string): string =>
  Array.from(
    createHash('sha256').update(text).digest(),
    byte => '0123456789abcdfghijklmnpqrsvwxyz'[byte & 31],
  ).join('');
