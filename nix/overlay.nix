# Puts this project's mkBinaryCache in the place of nixpkgs', and the program beside it.
# Tested on a package set of a few lines; not evaluated here on nixpkgs itself.
final: prev:
let
  # What runs while it is built: in a cross compilation that is not what the result is for.
  build = final.buildPackages or final;
in
{
  granary = final.callPackage ./package.nix { };
  mkBinaryCache = import ./mk-binary-cache.nix {
    node = build.nodejs_24;
    system = final.stdenv.buildPlatform.system;
    granary = build.granary;
  };
}
