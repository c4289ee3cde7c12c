# shellcheck shell=bash
# `cluster build`: fills the cache with the binaries of a Kubernetes node and control plane.
#
# Three of them are compiled from Debian's source package `kubernetes`, which vendors all of its
# dependencies; the others are taken out of Debian's binary packages without installing those, so
# that no service starts on the machine. Nothing comes from anywhere but the machine's own apt
# sources. Each step leaves a stamp, so a build that was killed goes on where it stopped.
#
# What is compiled is what a release has, less what no cluster of ours could use: the clients of
# clouds (two fifths of all source) and the shim for Docker. Both are tags of Kubernetes' own build.

# The daemons that no binary package of Debian has.
readonly COMPILED=(kubelet kube-apiserver kube-controller-manager)

# Binary packages of Debian, and what is taken from each.
readonly EXTRACTED=(
  "etcd-server:usr/bin/etcd"
  "containerd:usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr"
  "runc:usr/sbin/runc"
  "containernetworking-plugins:usr/lib/cni/bridge usr/lib/cni/host-local usr/lib/cni/loopback"
  "busybox-static:bin/busybox"
  "kubernetes-client:usr/bin/kubectl"
)

# What compiling needs: a command and the package that brings it.
readonly TOOLCHAIN=(go:golang-go dpkg-source:dpkg-dev)

# Kubernetes' own build tags for builds without clouds and without Docker.
readonly TAGS=providerless,dockerless

BUILD=$K8S/build # scratch of the build; deleted when it succeeded

# The images, named after what makes them: another recipe makes another file.
readonly IMAGES_PY=$CLUSTER_D/images.py
IMAGES=$K8S/images-$(cat "$IMAGES_PY" "$CLUSTER_D/../package.d/oci.py" | sha256sum | cut -c1-12).tar

# Seconds between two "still at it" lines of a long step.
readonly HEARTBEAT_S=30

cluster_build() {
  KUBERNETES=
  if [[ ${1-} == --kubernetes ]]; then
    KUBERNETES=$(realpath -e "${2:?--kubernetes needs a value}") || die "$2 does not exist"
    shift 2
  fi
  [[ $# -eq 0 ]] || die "build does not know '$1'; see 'cluster help'"
  check_release
  build_missing
}

# build_missing: makes what neither the cache nor the directory of `--kubernetes` has.
build_missing() {
  if build_is_complete; then
    say "$BIN is complete (Kubernetes $RELEASE)"
    return
  fi
  mkdir -p "$BUILD" "$BIN"
  lock "$BUILD_LOCK_FD" "$K8S/build.lock"
  if build_is_complete; then
    say "another process completed $BIN"
    unlock "$BUILD_LOCK_FD"
    return
  fi
  [[ -n $KUBERNETES ]] ||
    say "building Kubernetes $KUBERNETES_VERSION into $BIN (about six minutes on two idle cores)"
  step sources read_sources
  have_extracted || step packages extract_packages
  [[ -s $IMAGES ]] || step images make_images
  have_compiled || compile_all
  build_is_complete || die "the build ended without every file of $BIN; delete $K8S and build again"
  chmod -R u+w "$BUILD"
  rm -rf "$BUILD"
  unlock "$BUILD_LOCK_FD"
  say "built $BIN ($(du -sh "$BIN" | cut -f1))"
}

# Holds when all is there. Files are moved into place whole, so to be there is to be complete.
build_is_complete() { have_extracted && [[ -s $IMAGES ]] && have_compiled; }

have_extracted() {
  local entry file
  for entry in "${EXTRACTED[@]}"; do
    for file in ${entry#*:}; do
      [[ -x $BIN/${file##*/} ]] || return 1
    done
  done
}

have_compiled() {
  local name
  # They are in a directory of the caller's.
  [[ -z $KUBERNETES ]] || return 0
  for name in "${COMPILED[@]}"; do
    [[ -x $BIN/$name ]] || return 1
  done
}

compile_all() {
  step toolchain install_toolchain
  step source unpack_source
  step openapi generate_openapi
  step compile compile
}

# step NAME COMMAND...: runs COMMAND once, with its output in a log and a line now and then.
step() {
  local name=$1 log=$BUILD/$1.log started=$SECONDS job
  shift
  [[ -e $BUILD/$name.done ]] && return
  say "$name: started (log: $log)"
  # A shell of its own: errors end it even though its status is looked at here.
  # shellcheck disable=SC2016 # the inner shell expands
  nice -n 5 bash -euo pipefail -c '
    CLUSTER_D=$0
    for part in lib build; do source "$CLUSTER_D/$part.sh"; done
    "$@"' "$CLUSTER_D" "$@" >"$log" 2>&1 </dev/null &
  job=$!
  until wait_child "$job" "$HEARTBEAT_S"; do
    say "$name: running for $((SECONDS - started)) s"
  done
  if ! wait "$job"; then
    tail_of "$log"
    die "step $name failed; the whole log is $log, and 'cluster build' goes on from this step"
  fi
  touch "$BUILD/$name.done"
  say "$name: done in $((SECONDS - started)) s"
}

# wait_child PID SECONDS: returns 0 as soon as the child ended, 1 when it still runs after SECONDS.
wait_child() {
  local tick
  for ((tick = 0; tick < $2 * 5; tick++)); do
    is_running "$1" || return 0
    sleep 0.2
  done
  return 1
}

# private_apt TOOL ARGUMENT...: apt with source entries, without touching the machine's own lists:
# the entries are made from the Debian entries that the machine already trusts.
private_apt() {
  local tool=$1
  shift
  "$tool" -qq -o Dir::Etc::SourceList="$BUILD/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$BUILD/apt/lists" -o Dir::Cache="$BUILD/apt/cache" \
    -o APT::Sandbox::User=root "$@"
}

# Writes the private source entries and reads their indices.
read_sources() {
  mkdir -p "$BUILD/apt/lists/partial" "$BUILD/apt/cache/archives/partial"
  list_sources >"$BUILD/apt/sources.list"
  if [[ ! -s $BUILD/apt/sources.list && $EUID -eq 0 ]]; then
    apt-get update # apt tells Debian's sources from others only after it has read them once
    list_sources >"$BUILD/apt/sources.list"
  fi
  [[ -s $BUILD/apt/sources.list ]] ||
    die "apt knows no Debian sources; run 'apt-get update', or build on Debian 12"
  private_apt apt-get update
}

# The machine's Debian sources in one line each, for binaries and for sources, to standard output.
list_sources() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg trust=
  [[ ! -e $keyring ]] || trust="[signed-by=$keyring] "
  # shellcheck disable=SC2016 # the variables are apt's, not the shell's
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' | sort -u | while read -r origin uri release component; do
    [[ $origin == Debian ]] || continue
    printf 'deb %s%s %s %s\n' "$trust" "$uri" "$release" "$component"
    printf 'deb-src %s%s %s %s\n' "$trust" "$uri" "$release" "$component"
  done
}

# Installs the compiler and the like, if something is missing.
install_toolchain() {
  local entry packages=()
  for entry in "${TOOLCHAIN[@]}"; do
    command -v "${entry%%:*}" >/dev/null || packages+=("${entry#*:}")
  done
  [[ ${#packages[@]} -gt 0 ]] || return 0
  [[ $EUID -eq 0 ]] || die "as root: apt-get install --no-install-recommends ${packages[*]}"
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    install -y --no-install-recommends "${packages[@]}"
}

# Takes the binaries out of Debian's packages.
extract_packages() {
  local entry package file
  rm -rf "$BUILD/packages"
  mkdir -p "$BUILD/packages"
  cd "$BUILD/packages" || return
  for entry in "${EXTRACTED[@]}"; do
    package=${entry%%:*}
    private_apt apt-get download "$package"
    mkdir "$package"
    dpkg-deb --extract "$package"_*.deb "$package"
    for file in ${entry#*:}; do
      mv -f "$package/$file" "$BIN/"
    done
  done
}

# Writes the images of the node.
make_images() {
  need python3 python3
  python3 -B "$IMAGES_PY" busybox "$BIN/busybox" "$IMAGES" >/dev/null
}

# Fetches and unpacks the source package, and lays it out as a GOPATH, as its Makefile wants.
unpack_source() {
  rm -rf "$BUILD/source"
  mkdir -p "$BUILD/source" "$BUILD/home"
  cd "$BUILD/source" || return
  private_apt apt-get source --download-only kubernetes
  dpkg-source --extract kubernetes_*.dsc src
  grep -q "really$KUBERNETES_VERSION-\|_$KUBERNETES_VERSION-" <(ls kubernetes_*.dsc) ||
    die "the source package is $(ls kubernetes_*.dsc), but this script knows $KUBERNETES_VERSION only"
  mkdir -p src/.go/src/k8s.io
  ln -sfn ../../.. src/.go/src/k8s.io/kubernetes
}

# Enters the source tree by its GOPATH name, with an environment that reaches no network.
enter_source() {
  unset GOROOT GOFLAGS
  export HOME=$BUILD/home GOPATH=$BUILD/source/src/.go GOCACHE=$BUILD/gocache
  export CGO_ENABLED=0 GO111MODULE=off GOPROXY=off GOTMPDIR=$BUILD/tmp
  mkdir -p "$GOTMPDIR"
  cd "$GOPATH/src/k8s.io/kubernetes" || return
}

# Generates the one file that Debian's source package leaves out: the OpenAPI definitions of all
# APIs. `make generated_files` makes the same, and runs four other generators over the whole tree
# for files that are there. The list of violations must be the one that the source has.
generate_openapi() {
  enter_source
  local package=k8s.io/kubernetes/pkg/generated/openapi inputs
  go build -trimpath -o "$BUILD/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
  inputs=$(grep -rl --include='*.go' '+k8s:openapi-gen=' cmd pkg plugin staging/src test |
    grep -v '/k8s.io/code-generator/\|/k8s.io/sample-apiserver/' | xargs -n 1 dirname |
    LC_ALL=C sort -u | sed 's|^staging/src|vendor|; s|^|k8s.io/kubernetes/|' | paste -s -d ,)
  # A program with trimmed paths does not know where Go's own packages are.
  GOROOT=$(go env GOROOT) "$BUILD/openapi-gen" --logtostderr --input-dirs "$inputs" \
    --output-package "$package" --output-file-base zz_generated.openapi \
    --report-filename "$BUILD/violations" \
    --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt
  diff "$BUILD/violations" api/api-rules/violation_exceptions.list
}

# compile: the daemons, with the version that they report to others; together, so that linking one
# does not wait for the others' packages.
compile() {
  enter_source
  local package name flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    package=k8s.io/kubernetes/vendor/$package
    flags+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitTreeState=clean"
    flags+=" -X $package.gitMajor=1 -X $package.gitMinor=20"
  done
  mkdir -p "$BUILD/compiled"
  go build -trimpath -tags "$TAGS" -ldflags "$flags" -o "$BUILD/compiled/" "${COMPILED[@]/#/./cmd/}"
  for name in "${COMPILED[@]}"; do
    "$BUILD/compiled/$name" --version
    mv -f "$BUILD/compiled/$name" "$BIN/$name"
  done
}
