# mkBinaryCache: a flat binary cache of closures, as a derivation; in the place of nixpkgs' function of
# that name. Its builder is Node itself, running this project's source: no stdenv, no shell, no npm.
#
# This project's tests build it in the sandbox of the Nix versions that they have, and install from the
# result. Not built here: with nixpkgs' own Node.
{
  # A package that has bin/node, version 24 or newer.
  node,
  system ? builtins.currentSystem,
  # The program as package.nix makes it: only xz needs it. All else runs from the bare source.
  granary ? null,
}:
let
  defaultNode = node;
  source = builtins.path {
    path = ../src;
    name = "granary-source";
  };
  oneOf =
    what: value: words:
    if builtins.elem value words then
      value
    else
      throw "mkBinaryCache: ${what} takes one of ${toString words}, not ${builtins.toJSON value}";
  wholeOrNull =
    what: value:
    if value == null || builtins.isInt value then
      value
    else
      throw "mkBinaryCache: ${what} takes a whole number, not ${builtins.toJSON value}";
  trueOrFalse =
    what: value:
    if builtins.isBool value then
      value
    else
      throw "mkBinaryCache: ${what} takes true or false, not ${builtins.toJSON value}";
in
{
  name ? "binary-cache",
  compression ? "zstd", # zstd, xz, gzip, br or none
  rootPaths,
  level ? null,
  listings ? false,
  priority ? null,
  wantMassQuery ? false,
  # Whether Nix forgets the cache's references, so that the cache does not keep its closure alive.
  # Under structured attributes Nix can do so since 2.18.
  discardReferences ? builtins.compareVersions builtins.nixVersion "2.18" >= 0,
  node ? defaultNode,
}:
derivation (
  {
    inherit name system;
    compression = oneOf "compression" compression [
      "zstd"
      "xz"
      "gzip"
      "br"
      "none"
    ];
    level = wholeOrNull "level" level;
    listings = trueOrFalse "listings" listings;
    priority = wholeOrNull "priority" priority;
    wantMassQuery = trueOrFalse "wantMassQuery" wantMassQuery;
    __structuredAttrs = true;
    exportReferencesGraph.closure = rootPaths;
    builder = "${node}/bin/node";
    args = [
      (
        if compression == "xz" && granary != null then
          "${granary}/lib/granary/src/cli/nix-builder.ts"
        else
          "${source}/cli/nix-builder.ts"
      )
    ];
    preferLocalBuild = true;
  }
  // (if discardReferences then { unsafeDiscardReferences.out = true; } else { })
)
