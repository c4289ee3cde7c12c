# shellcheck shell=bash
# `cluster image`: an image of the program, for pods that run it. Nothing is pulled.

# The name that pods call it by.
readonly PROGRAM_IMAGE=localhost/eyesplice:1

# cluster_image: makes an image of the program and gives it to the node's container runtime.
cluster_image() {
  [[ $# -eq 0 ]] || die "image takes no arguments"
  [[ $EUID -eq 0 ]] || die "image enters the node: run it as root"
  if ! load_settings || ! any_alive; then die "no cluster runs in $STATE; run 'cluster up'"; fi
  local file=$STATE/program.tar
  program_image "$EYESPLICE" "$file"
  in_node "$(program ctr)" --address "$CONTAINERD_SOCKET" --namespace k8s.io images import "$file" \
    >>"$LOG/containerd.log" 2>&1 ||
    { tail_of "$LOG/containerd.log"; die "importing the image failed"; }
  rm -f "$file"
  say "the node has $PROGRAM_IMAGE"
}

# program_image PROGRAM FILE: writes the image, in the layout of `docker save`: the program, and the
# libraries that it is linked with, if it is not static.
program_image() {
  local work=$STATE/program diff_id library
  rm -rf "$work"
  mkdir -p "$work/rootfs/usr/bin" "$work/rootfs/etc" "$work/archive"
  cp "$1" "$work/rootfs/usr/bin/eyesplice"
  # Its symbols are nine tenths of a debug build.
  strip --strip-debug "$work/rootfs/usr/bin/eyesplice" 2>/dev/null || true
  while read -r library; do
    mkdir -p "$work/rootfs$(dirname "$library")"
    cp --dereference "$library" "$work/rootfs$library"
  done < <(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | sort -u)
  pack "$work/rootfs" "$work/archive/layer.tar"
  diff_id=$(sha256sum "$work/archive/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z",
    "config":{"Entrypoint":["/usr/bin/eyesplice"],"WorkingDir":"/"},
    "rootfs":{"type":"layers","diff_ids":["sha256:%s"]},
    "history":[{"created":"1970-01-01T00:00:00Z"}]}\n' \
    "$(dpkg --print-architecture)" "$diff_id" >"$work/archive/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]\n' "$PROGRAM_IMAGE" \
    >"$work/archive/manifest.json"
  pack "$work/archive" "$2"
  rm -rf "$work"
}

# pack DIRECTORY FILE: an archive of a directory's content that is the same each time.
pack() {
  tar --create --file "$2" --directory "$1" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime=@0 .
}
