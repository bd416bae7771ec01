# A flake around nix/: the overlay and the program. Its evaluation is not tested here: it needs nixpkgs.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
  outputs =
    { self, nixpkgs }:
    {
      overlays.default = import ./nix/overlay.nix;
      packages = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ] (
        system: { default = nixpkgs.legacyPackages.${system}.callPackage ./nix/package.nix { }; }
      );
    };
}
