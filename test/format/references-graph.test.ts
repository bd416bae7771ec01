import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { parseReferencesGraph } from '../../src/format/references-graph.ts';
import { defaultStoreDir, parseStoreDir } from '../../src/format/store-path.ts';

const path = (digit: string, name: string): string => `/nix/store/${digit.repeat(32)}-${name}`;
const [app, lib, doc] = [path('a', 'app'), path('b', 'lib'), path('c', 'doc')];
const narHash = 'sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s';

type Json = Record<string, unknown>;
const entry = (path: string, references: string[] = [], more: Json = {}): Json => ({
  closureSize: 999,
  narHash,
  narSize: 120,
  path,
  references,
  valid: true,
  ...more,
});
const closure = [entry(app, [app, lib]), entry(lib, [lib])];
const attrs = (more: Json = {}): Json => ({
  builder: '/bin/sh',
  closure,
  exportReferencesGraph: { closure: app },
  ...more,
});
const parse = (json: unknown): ReturnType<typeof parseReferencesGraph> =>
  parseReferencesGraph(JSON.stringify(json), defaultStoreDir);

const infos = [
  { path: app, narHash, narSize: 120, references: [app, lib], signatures: [] },
  { path: lib, narHash, narSize: 120, references: [lib], signatures: [] },
];

test('an array is a graph whose roots are what nothing else refers to', () => {
  deepEqual(parse(closure), { infos, roots: [app] });
  deepEqual(parse([...closure, entry(doc)]).roots, [app, doc]);
  deepEqual(parse([]), { infos: [], roots: [] });
});

test('an .attrs.json is the graph of each key, whose roots are the values', () => {
  deepEqual(parse(attrs()), { infos, roots: [app] });
  const two = attrs({
    manual: [entry(doc, [lib]), entry(lib, [lib])],
    exportReferencesGraph: { closure: [app, lib], manual: doc },
  });
  const { infos: paths, roots } = parse(two);
  deepEqual(
    [paths.map(info => info.path), roots],
    [
      [app, lib, doc],
      [app, lib, doc],
    ],
  );
});

const roots: Record<string, [unknown, string[]]> = {
  'one path': [app, [app]],
  'paths in an array': [
    [lib, app],
    [lib, app],
  ],
  'arrays in arrays, as Nix flattens them': [
    [[lib], [[app]]],
    [lib, app],
  ],
  'a path inside a store path': [`${lib}/lib/x/../y.so`, [lib]],
  'the same path twice': [[app, `${app}/bin/app`], [app]],
  none: [[], []],
};
for (const [what, [value, expected]] of Object.entries(roots))
  test(`the roots of a key may be ${what}`, () =>
    deepEqual(parse(attrs({ exportReferencesGraph: { closure: value } })).roots, expected));

test('a derivation as a root is that file, with its closure and outputs around it', () => {
  const drv = path('d', 'app.drv');
  const graph = parse(
    attrs({
      closure: [entry(drv), ...closure],
      exportReferencesGraph: { closure: drv },
    }),
  );
  deepEqual([graph.roots, graph.infos.length], [[drv], 3]);
});

const accepted: Record<string, [Json, Json]> = {
  'a content address': [{ ca: `fixed:r:${narHash}` }, { ca: `fixed:r:${narHash}` }],
  'no content address, said by null': [{ ca: null }, {}],
  'no content address, said by nothing': [{ ca: '' }, {}],
  'a hash in SRI': [{ narHash: 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=' }, {}],
  'no word on its validity, as up to 2.14': [{ valid: undefined }, {}],
  'references in any order, and twice': [
    { references: [lib, app, lib] },
    { references: [app, lib] },
  ],
  'derivers and signatures, which a graph has not': [{ deriver: doc, signatures: ['x'] }, {}],
};
for (const [what, [changes, expected]] of Object.entries(accepted))
  test(`a path of a graph may have ${what}`, () =>
    deepEqual(parse([entry(app, [app, lib], changes), closure[1]]).infos[0], {
      ...infos[0],
      ...expected,
    }));

test('keys of any name are the graph they say', () => {
  for (const key of ['__proto__', 'constructor', '0', 'ő', 'exportReferencesGraph2']) {
    const text = `{"exportReferencesGraph":{${JSON.stringify(key)}:"${app}"},${JSON.stringify(key)}:${JSON.stringify(closure)}}`;
    deepEqual(parseReferencesGraph(text, defaultStoreDir), { infos, roots: [app] });
  }
});

test('a graph of another store directory is read by that directory', () => {
  const text = JSON.stringify(attrs()).replaceAll('/nix/store', '/gnu/store');
  const graph = parseReferencesGraph(text, parseStoreDir('/gnu/store'));
  deepEqual(graph.roots, [app.replace('nix', 'gnu')]);
  throws(() => parseReferencesGraph(text, defaultStoreDir), {
    code: 'malformed',
    facts: { field: 'closure[0].path' },
  });
});

const at = (changes: Json): unknown => attrs({ closure: [entry(app, [app], changes)] });
const refused: Record<string, [unknown, string]> = {
  'a number': [7, 'the whole'],
  nothing: [null, 'the whole'],
  'no exportReferencesGraph': [{ closure }, 'exportReferencesGraph'],
  'the exportReferencesGraph of plain attributes': [
    attrs({ exportReferencesGraph: ['closure', app] }),
    'exportReferencesGraph',
  ],
  'a key without its array': [attrs({ closure: undefined }), 'closure'],
  'a key that only every object has': [
    attrs({ exportReferencesGraph: { toString: app } }),
    'toString',
  ],
  'an object in place of an array': [attrs({ closure: { 0: entry(app) } }), 'closure'],
  'a path that is no object': [attrs({ closure: [entry(app), app] }), 'closure[1]'],
  'no path': [at({ path: undefined }), 'closure[0].path'],
  'a path that is a number': [at({ path: 7 }), 'closure[0].path'],
  'a path outside the store': [at({ path: '/etc/passwd' }), 'closure[0].path'],
  'a path inside a path': [at({ path: `${app}/bin` }), 'closure[0].path'],
  'a path that is not valid': [at({ valid: false }), 'closure[0].valid'],
  'no hash': [at({ narHash: undefined }), 'closure[0].narHash'],
  'a hash of the wrong length': [at({ narHash: 'sha256:abc' }), 'closure[0].narHash'],
  'no size': [at({ narSize: undefined }), 'closure[0].narSize'],
  'a size in quotes': [at({ narSize: '120' }), 'closure[0].narSize'],
  'a size of zero': [at({ narSize: 0 }), 'closure[0].narSize'],
  'half a byte': [at({ narSize: 0.5 }), 'closure[0].narSize'],
  'a size that a number cannot hold': [at({ narSize: 2 ** 53 }), 'closure[0].narSize'],
  'no references': [at({ references: undefined }), 'closure[0].references'],
  'references in one string': [at({ references: app }), 'closure[0].references'],
  'a reference that is a base name': [
    at({ references: [app, app.slice(11)] }),
    'closure[0].references[1]',
  ],
  'a bad content address': [at({ ca: 'fixed:x' }), 'closure[0].ca'],
  'a reference outside the graph': [
    attrs({ closure: [closure[1], entry(app, [lib, doc])] }),
    'closure[1].references',
  ],
  'a reference that only another key has': [
    attrs({
      closure: [entry(app, [doc])],
      x: [entry(doc)],
      exportReferencesGraph: { closure: app, x: doc },
    }),
    'closure[0].references',
  ],
  'a path twice with different data': [
    attrs({ closure: [...closure, entry(lib, [], { narSize: 8 })] }),
    'closure[2]',
  ],
  'a path in two graphs with different data': [
    attrs({ x: [entry(lib)], exportReferencesGraph: { closure: app, x: lib } }),
    'x',
  ],
  'a root outside the graph': [
    attrs({ exportReferencesGraph: { closure: [app, doc] } }),
    'exportReferencesGraph.closure',
  ],
  'a root outside the store': [
    attrs({ exportReferencesGraph: { closure: '/etc/passwd' } }),
    'exportReferencesGraph.closure',
  ],
  'a root that is no string': [
    attrs({ exportReferencesGraph: { closure: { path: app } } }),
    'exportReferencesGraph.closure',
  ],
  'a root that is null': [
    attrs({ exportReferencesGraph: { closure: null } }),
    'exportReferencesGraph.closure',
  ],
  'a circle and no root': [[entry(app, [lib]), entry(lib, [app])], 'graph'],
};
for (const [what, [json, field]] of Object.entries(refused))
  test(`a references graph with ${what} is malformed, and the field is named`, () =>
    throws(() => parse(json), {
      name: 'GranaryError',
      code: 'malformed',
      message: /^Cannot read the references graph, /,
      facts: { field },
    }));

const noJson = ['', '{', '[1,]', '<attrs/>', '\ufeff[]', `${JSON.stringify(attrs())}x`];
for (const text of noJson)
  test(`a references graph that is no JSON (${text.slice(0, 8)}) is malformed`, () =>
    throws(() => parseReferencesGraph(text, defaultStoreDir), {
      name: 'GranaryError',
      code: 'malformed',
      message: /it is no JSON/,
    }));

test('roots in a million nested arrays are malformed, not the end of the stack', () => {
  const nested = `${'['.repeat(1e6)}${']'.repeat(1e6)}`;
  const text = JSON.stringify(attrs()).replace(`"closure":"${app}"`, `"closure":${nested}`);
  equal(text.length > 2e6, true);
  throws(() => parseReferencesGraph(text, defaultStoreDir), { code: 'malformed' });
});
