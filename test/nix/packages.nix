# A package set of some lines, in the place of nixpkgs: with callPackage, a hello, and our overlay.
{ nodeDir, overlay }:
let
  # The last word is bash's own: the last program would take bash's place, and Nix kills a builder that has
  # closed its output and not ended yet, as those of coreutils do (NixOS/nix#2176).
  bash = script: { system = builtins.currentSystem; builder = "/bin/bash"; args = [ "-e" "-c" "PATH=/bin:/usr/bin; ${script}\n:" ]; };
  make = name: script: derivation ({ inherit name; } // bash script);
  set = final: {
    callPackage = f: given: (if builtins.isFunction f then f else import f) (builtins.intersectAttrs (builtins.functionArgs (if builtins.isFunction f then f else import f)) final // given);
    stdenv.buildPlatform.system = builtins.currentSystem;
    nodejs_24 = builtins.path { path = nodeDir; name = "node"; filter = path: type: baseNameOf path == "bin" || baseNameOf path == "node"; };
    greeting = builtins.toFile "greeting" "Hello, world!\n";
    library = make "library" "mkdir $out; cp ${final.greeting} $out/greeting; echo ${final.greeting} > $out/source";
    hello = make "hello" "mkdir -p $out/bin; echo 'cat \"$(dirname \"$0\")/../../${baseNameOf final.library}/greeting\"' > $out/bin/hello; chmod +x $out/bin/hello; echo $out > $out/self";

    # What package.nix takes of nixpkgs; its fixupPhase is not there.
    lib = { importJSON = file: builtins.fromJSON (builtins.readFile file); fetchers.proxyImpureEnvVars = [ "http_proxy" "https_proxy" ]; licenses.mit = "MIT"; };
    stdenvNoCC.mkDerivation = { installPhase, meta ? { }, ... }@given: derivation (removeAttrs given [ "meta" ] // { name = given.name or "${given.pname}-${given.version}"; } // bash installPhase);
    cacert = final.greeting;
  };
  fix = f: let x = f x; in x;
in
fix (final: set final // import overlay final (set final))
