# The program, for nixpkgs: pkgs.callPackage ./package.nix { }. Not built here: it needs nixpkgs, and
# npmDepsHash has to be what the first build asks for.
{
  lib,
  buildNpmPackage,
  nodejs_24,
}:
buildNpmPackage {
  pname = "granary";
  version = (lib.importJSON ../package.json).version;
  src = lib.cleanSource ../.;
  nodejs = nodejs_24;
  npmDepsHash = lib.fakeHash;
  # Development's own Node is for one platform only, and not wanted here.
  npmFlags = [ "--force" ];
  meta = {
    description = "Make, prove, heal, ship and serve Nix closures as plain files";
    license = lib.licenses.mit;
    mainProgram = "granary";
  };
}
