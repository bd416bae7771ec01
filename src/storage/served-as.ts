/**
 * What a web server should say of each value: its media type, as Nix states it when it uploads, and for how
 * long a cache between may keep it. A NAR's name comes from its hash, so it never changes. All else may: a
 * narinfo is signed anew or healed. Five minutes hold off a crowd, and Nix itself keeps narinfos far longer.
 */

export interface ServedAs {
  readonly type: string;
  readonly cacheControl: string;
}

export const servedAs = (key: string): ServedAs => ({
  type: types.find(([pattern]) => pattern.test(key))?.[1] ?? 'application/octet-stream',
  cacheControl: isNar.test(key) ? 'public, max-age=31536000, immutable' : 'public, max-age=300',
});

const isNar = /^nar\/.*\.nar(\.[a-z0-9]+)?$/;
const types: readonly (readonly [RegExp, string])[] = [
  [isNar, 'application/x-nix-nar'],
  [/^[^/]+\.narinfo$/, 'text/x-nix-narinfo'],
  [/^nix-cache-info$/, 'text/x-nix-cache-info'],
  [/^[^/]+\.ls$/, 'application/json'],
  [/\/KEEP$/, 'text/plain'],
  [/^log\//, 'text/plain; charset=utf-8'],
  [/^(realisations|build-trace-v2|debuginfo)\/|\.json$/, 'application/json'],
  [/\.html$/, 'text/html; charset=utf-8'],
];
