# The program, for nixpkgs: pkgs.callPackage ./package.nix { }. It is the source as it is, which Node
# runs, and the few packages beside it that npm's lock names for run time.
#
# This project's tests build it, with real Nix, from a package set of a few lines that has stand-ins for
# nixpkgs' functions, and make a cache by xz with it. Not built here: with nixpkgs, and the packages by
# npm; that they hash to what is stated, the tests see.
{
  lib,
  stdenvNoCC,
  nodejs_24,
  cacert,
}:
let
  modules = stdenvNoCC.mkDerivation {
    name = "granary-modules";
    dontUnpack = true;
    nativeBuildInputs = [ nodejs_24 ];
    NODE_EXTRA_CA_CERTS = "${cacert}/etc/ssl/certs/ca-bundle.crt";
    impureEnvVars = lib.fetchers.proxyImpureEnvVars;
    installPhase = ''
      cp ${../package.json} package.json
      cp ${../package-lock.json} package-lock.json
      HOME=$TMPDIR npm ci --omit=dev --ignore-scripts
      rm -r node_modules/.bin node_modules/.package-lock.json
      find node_modules -type d -empty -delete # older npm leave these of what they leave out
      mkdir $out
      mv node_modules $out/node_modules
    '';
    dontFixup = true;
    outputHashMode = "recursive";
    outputHash = "sha256-CQ5tYhsMFNxdZvt4hi34Js+C+EUJWiKx1KNLrb6kLTE=";
  };
in
stdenvNoCC.mkDerivation {
  pname = "granary";
  version = (lib.importJSON ../package.json).version;
  dontUnpack = true;
  # For fixupPhase, which writes Node's own path into the program's first line.
  buildInputs = [ nodejs_24 ];
  installPhase = ''
    mkdir -p $out/bin $out/lib/granary
    cp -r ${../bin} $out/lib/granary/bin
    cp -r ${../src} $out/lib/granary/src
    cp ${../package.json} $out/lib/granary/package.json
    ln -s ${modules}/node_modules $out/lib/granary/node_modules
    ln -s ../lib/granary/bin/granary.js $out/bin/granary
  '';
  meta = {
    description = "Make, prove, heal, ship and serve Nix closures as plain files";
    license = lib.licenses.mit;
    mainProgram = "granary";
    inherit (nodejs_24.meta) platforms;
  };
}
