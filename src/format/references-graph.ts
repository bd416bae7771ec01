/**
 * The references graph that Nix gives a build under structured attributes: an array of paths with
 * hash, size and references. It has neither derivers nor signatures.
 *
 *     attrs = { "exportReferencesGraph": { KEY: ROOT or array of ROOT, … }, KEY: graph, … }
 *     graph = [ { "path", "narHash", "narSize", "references": [ PATH, … ], "ca"? }, … ]
 *
 * What else stands there is other people's. A graph is a closure: all that its paths refer to is in it.
 */
import { GranaryError } from '../errors.ts';
import { parseContentAddress } from './content-address.ts';
import { parseHash } from './hash.ts';
import type { PathInfo } from './path-info.ts';
import { parseStorePath, type StoreDir, type StorePath } from './store-path.ts';

/** The paths in the order in which they stand there, and those that were asked for. */
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
  if (Array.isArray(json)) {
    const infos = parsePaths(json, 'graph', storeDir);
    const referred = new Set(
      [...infos.values()].flatMap(info => info.references.filter(path => path !== info.path)),
    );
    const roots = [...infos.keys()].filter(path => !referred.has(path));
    if (infos.size > 0 && roots.length === 0) throw bad('graph', 'its paths refer in circles');
    return { infos: [...infos.values()], roots };
  }
  const attributes = asObject(json, 'the whole');
  const wanted = asObject(attributes.exportReferencesGraph, 'exportReferencesGraph');
  const infos = new Map<StorePath, PathInfo>();
  const roots = new Set<StorePath>();
  for (const [key, value] of Object.entries(wanted)) {
    const graph = parsePaths(attributes[key], key, storeDir);
    for (const info of graph.values()) add(info, infos, key);
    for (const root of [value].flat(deepestRoots)) {
      const field = `exportReferencesGraph.${key}`;
      const path = rootOf(root, field, storeDir);
      if (!graph.has(path)) throw bad(field, `its root ${path} is not in the graph`);
      roots.add(path);
    }
  }
  return { infos: [...infos.values()], roots: [...roots] };
}

/** Nix flattens arrays of roots, however deep; nobody nests them, and a stack has an end. */
const deepestRoots = 64;

/** One array: a closure. */
function parsePaths(list: unknown, key: string, storeDir: StoreDir): Map<StorePath, PathInfo> {
  if (!Array.isArray(list)) throw bad(key, 'it is no array of paths');
  const infos = new Map<StorePath, PathInfo>();
  for (const [at, entry] of list.entries()) {
    const field = `${key}[${at}]`;
    add(pathInfo(asObject(entry, field), field, storeDir), infos, field);
  }
  for (const [at, { path }] of list.entries()) {
    const outside = infos.get(path)!.references.find(reference => !infos.has(reference));
    if (outside)
      throw bad(
        `${key}[${at}].references`,
        `${path} refers to ${outside}, which is not in the graph`,
      );
  }
  return infos;
}

function add(info: PathInfo, infos: Map<StorePath, PathInfo>, field: string): void {
  const other = infos.get(info.path);
  if (other && JSON.stringify(other) !== JSON.stringify(info))
    throw bad(field, `${info.path} is there twice, and differs`);
  infos.set(info.path, info);
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
