# mkBinaryCache: a flat binary cache of closures, as a derivation; in the place of nixpkgs' function of
# that name. Its builder is Node itself, running this project's source: no stdenv, no shell, no npm.
#
# This project's tests build it in the sandbox of the oldest and the newest Nix that they have, with
# zstd, and install from the result. Not built here: with nixpkgs' Node, and xz, which needs package.nix.
{
  # A package that has bin/node, version 24 or newer.
  node,
  system ? builtins.currentSystem,
  # The program as package.nix makes it. Without it the source runs, which can't write xz.
  granary ? null,
}:
let
  defaultNode = node;
  source = builtins.path {
    path = ../src;
    name = "granary-source";
  };
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
    inherit
      name
      system
      compression
      level
      listings
      priority
      wantMassQuery
      ;
    __structuredAttrs = true;
    exportReferencesGraph.closure = rootPaths;
    builder = "${node}/bin/node";
    args = [
      (
        if granary == null then
          "${source}/cli/nix-builder.ts"
        else
          "${granary}/lib/node_modules/granary/dist/cli/nix-builder.js"
      )
    ];
    preferLocalBuild = true;
  }
  // (if discardReferences then { unsafeDiscardReferences.out = true; } else { })
)
