# shellcheck shell=bash
# Which release of Kubernetes runs: that of the cache, or one whose binaries the caller has. Flags
# and fields that a release does not know are left out where they would be passed (see since()).

# program NAME: the path of a program: the caller's own where there is one, else the cache's.
program() {
  if [[ -n $KUBERNETES && -x $KUBERNETES/$1 ]]; then
    printf '%s\n' "$KUBERNETES/$1"
  else
    printf '%s\n' "$BIN/$1"
  fi
}

# programs_path: where daemons look for the programs that they start.
programs_path() { printf '%s\n' "${KUBERNETES:+$KUBERNETES:}$BIN"; }

# since RELEASE: holds when the release that runs is this one (major.minor) or a later one.
since() {
  local now=${RELEASE#1.}
  [[ ${now%%.*} -ge ${1#1.} ]]
}

# check_release: sets RELEASE and KUBECTL; ends the command unless the caller's directory has what a
# release needs.
check_release() {
  local name
  RELEASE=$KUBERNETES_VERSION KUBECTL=$BIN/kubectl
  [[ -n $KUBERNETES ]] || return 0
  for name in "${COMPILED[@]}"; do
    [[ -x $KUBERNETES/$name ]] || die "$KUBERNETES has no program $name; --kubernetes needs ${COMPILED[*]}"
  done
  RELEASE=$("$KUBERNETES/kube-apiserver" --version | sed -n 's/^Kubernetes v//p')
  [[ $RELEASE =~ ^1\.[0-9]+\. ]] || die "$KUBERNETES/kube-apiserver does not say which release it is"
  since 1.20 || die "$KUBERNETES holds Kubernetes $RELEASE; 1.20 is the oldest that this script knows"
  KUBECTL=$(near_kubectl)
}

# near_kubectl: the path of the kubectl of the caller's directory, or else of the machine's that is
# nearest to the release: kubectl and API server may be one minor release apart.
near_kubectl() {
  local minor=${RELEASE#1.} path version distance least=99 nearest=$BIN/kubectl
  if [[ -x $KUBERNETES/kubectl ]]; then
    printf '%s\n' "$KUBERNETES/kubectl"
    return
  fi
  minor=${minor%%.*}
  while read -r path version; do
    version=${version#v1.}
    distance=$((${version%%.*} - minor))
    if [[ ${distance#-} -lt $least ]]; then least=${distance#-} nearest=$path; fi
  done < <(cluster_kubectls)
  printf '%s\n' "$nearest"
}
