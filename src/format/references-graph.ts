/**
 * The references graph that Nix gives a build under structured attributes: an array of paths with
 * hash, size and references. It has neither derivers nor signatures.
 */
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { parseStorePath, type StoreDir, type StorePath } from './store-path.ts';

export interface ReferencesGraph {
  readonly infos: readonly PathInfo[];
  readonly roots: readonly StorePath[];
}

/**
 * Reads an `.attrs.json`, all keys of its `exportReferencesGraph` (whose values are the roots), or one
 * such array (whose roots are the paths that no other refers to).
 *
 * @throws GranaryError `malformed`, with the field
 */
export function parseReferencesGraph(text: string, storeDir: StoreDir): ReferencesGraph {
  const json = parseJson(text);
  const infos = new Map<StorePath, PathInfo>();
  const roots = new Set<StorePath>();
  if (Array.isArray(json)) {
    addPaths(json, 'graph', storeDir, infos);
    const referred = new Set(
      [...infos.values()].flatMap(info => info.references.filter(path => path !== info.path)),
    );
    for (const path of infos.keys()) if (!referred.has(path)) roots.add(path);
  } else {
    const attributes = asObject(json, 'the whole');
    const wanted = asObject(attributes.exportReferencesGraph, 'exportReferencesGraph');
    for (const [key, value] of Object.entries(wanted)) {
      addPaths(attributes[key], key, storeDir, infos);
      const texts = (Array.isArray(value) ? value : [value]).flat(Number.POSITIVE_INFINITY);
      const field = `exportReferencesGraph.${key}`;
      for (const root of texts) roots.add(rootOf(root, field, storeDir));
    }
  }
  for (const { path, references } of infos.values())
    for (const reference of references)
      if (!infos.has(reference))
        throw bad('references', `${path} refers to ${reference}, which is not in the graph`);
  for (const root of roots)
    if (!infos.has(root))
      throw bad('exportReferencesGraph', `its root ${root} is not in the graph`);
  return { infos: [...infos.values()], roots: [...roots] };
}

function addPaths(
  list: unknown,
  key: string,
  storeDir: StoreDir,
  infos: Map<StorePath, PathInfo>,
): void {
  if (!Array.isArray(list)) throw bad(key, 'it is no array of paths');
  for (const [at, entry] of list.entries()) {
    const info = pathInfo(asObject(entry, `${key}[${at}]`), `${key}[${at}]`, storeDir);
    const other = infos.get(info.path);
    if (other && JSON.stringify(other) !== JSON.stringify(info))
      throw bad(`${key}[${at}]`, `${info.path} is there twice, and differs`);
    infos.set(info.path, info);
  }
}

function pathInfo(
  entry: Readonly<Record<string, unknown>>,
  field: string,
  storeDir: StoreDir,
): PathInfo {
  const { narSize, references, ca, valid } = entry;
  const toPath = (text: string): StorePath => parseStorePath(text, storeDir);
  const path = parsed(entry.path, `${field}.path`, toPath);
  if (valid === false) throw bad(`${field}.valid`, `${path} is not valid`);
  if (!Number.isSafeInteger(narSize) || (narSize as number) <= 0)
    throw bad(`${field}.narSize`, 'it is no size in bytes');
  if (!Array.isArray(references)) throw bad(`${field}.references`, 'it is no array');
  const refersTo = references.map((reference, at) =>
    parsed(reference, `${field}.references[${at}]`, toPath),
  );
  const isAddressed = ca !== undefined && ca !== null && ca !== '';
  return {
    path,
    narHash: parsed(entry.narHash, `${field}.narHash`, text => parseHash(text)),
    narSize: narSize as number,
    references: [...new Set(refersTo)].sort(),
    ...(isAddressed ? { ca: parsed(ca, `${field}.ca`, parseContentAddress) } : {}),
    signatures: [],
  };
}

/** A root may be a path inside a store path. */
const rootOf = (value: unknown, field: string, storeDir: StoreDir): StorePath =>
  parsed(value, field, text => {
    const end = text.indexOf('/', storeDir.length + 1);
    return parseStorePath(end < 0 ? text : text.slice(0, end), storeDir);
  });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new GranaryError(
      'malformed',
      `Cannot read the references graph: it is no JSON (${(error as Error).message})`,
      {},
      error,
    );
  }
}

function asObject(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw bad(field, value === undefined ? 'it is missing' : 'it is no object');
}

/** A text, parsed; what is wrong with it is said of the field. */
function parsed<T>(value: unknown, field: string, parse: (text: string) => T): T {
  if (typeof value !== 'string')
    throw bad(field, value === undefined ? 'it is missing' : 'it is no string');
  try {
    return parse(value);
  } catch (error) {
    throw error instanceof GranaryError ? bad(field, error.message) : error;
  }
}

const bad = (field: string, why: string): GranaryError =>
  new GranaryError('malformed', `Cannot read the references graph, ${field}: ${why}`, { field });
