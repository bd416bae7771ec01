# Puts this project's mkBinaryCache in the place of nixpkgs', and the program beside it.
# Tested on a package set of ten lines; not evaluated here on nixpkgs itself.
final: prev: {
  granary = final.callPackage ./package.nix { };
  mkBinaryCache =
    arguments:
    import ./mk-binary-cache.nix {
      node = final.nodejs_24;
      system = final.stdenv.hostPlatform.system or builtins.currentSystem;
      granary = if arguments.compression or "zstd" == "xz" then final.granary else null;
    } arguments;
}
