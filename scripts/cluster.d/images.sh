# shellcheck shell=bash
# The images of the node: one root file system made of busybox, under two names. Nothing is pulled.

# make_images: writes both to one file, in the layout of `docker save`.
make_images() {
  local work=$BUILD/images diff_id name configs=()
  rm -rf "$work"
  mkdir -p "$work"/rootfs/{bin,data,etc,tmp} "$work/archive"
  chmod 1777 "$work/rootfs/tmp"
  cp "$BIN/busybox" "$work/rootfs/bin/busybox"
  "$BIN/busybox" --list | while read -r name; do
    [[ $name == busybox ]] || ln -s busybox "$work/rootfs/bin/$name"
  done
  printf 'root:x:0:0:root:/:/bin/sh\n' >"$work/rootfs/etc/passwd"
  printf 'root:x:0:\n' >"$work/rootfs/etc/group"
  pack "$work/rootfs" "$work/archive/layer.tar"
  diff_id=$(sha256sum "$work/archive/layer.tar" | cut -d' ' -f1)

  # What holds a pod's namespaces: it sleeps, reaps, and ends when it is told to.
  image_config sandbox '["/bin/sh","-c","trap exit INT TERM; while :; do sleep 86400 & wait $!; done"]'
  image_config busybox '["/bin/sh"]'
  local IFS=,
  printf '[%s]\n' "${configs[*]}" >"$work/archive/manifest.json"
  pack "$work/archive" "$work/images.tar"
  mv -f "$work/images.tar" "$IMAGES"
}

# image_config NAME COMMAND: writes the configuration of an image, and adds the image to `configs`.
image_config() {
  printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z",
    "config":{"Cmd":%s,"Env":["PATH=/bin"],"WorkingDir":"/"},
    "rootfs":{"type":"layers","diff_ids":["sha256:%s"]},
    "history":[{"created":"1970-01-01T00:00:00Z"}]}\n' \
    "$(dpkg --print-architecture)" "$2" "$diff_id" >"$work/archive/$1.json"
  configs+=("{\"Config\":\"$1.json\",\"RepoTags\":[\"localhost/$1:1\"],\"Layers\":[\"layer.tar\"]}")
}

# pack DIRECTORY FILE: an archive of a directory's content that is the same each time.
pack() {
  tar --create --file "$2" --directory "$1" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime=@0 .
}
