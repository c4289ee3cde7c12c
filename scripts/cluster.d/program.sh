# shellcheck shell=bash
# `cluster image`: an image of the program, for pods that run it. Nothing is pulled.

# cluster_image: makes an image of the program and gives it to the node's container runtime.
cluster_image() {
  [[ $# -eq 0 ]] || die "image takes no arguments"
  [[ $EUID -eq 0 ]] || die "image enters the node: run it as root"
  if ! load_settings || ! any_alive; then die "no cluster runs in $STATE; run 'cluster up'"; fi
  local file=$STATE/program.tar name
  name=$(python3 -B "$IMAGES_PY" program "$EYESPLICE" "$file") || die "writing $file failed"
  in_node "$(program ctr)" --address "$CONTAINERD_SOCKET" --namespace k8s.io images import "$file" \
    >>"$LOG/containerd.log" 2>&1 ||
    { tail_of "$LOG/containerd.log"; die "importing the image failed"; }
  rm -f "$file"
  say "the node has $name"
}
