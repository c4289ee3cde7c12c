# shellcheck shell=bash
# `cluster status`, `cluster env` and `cluster kubectls`: what there is, for people and for tests.

# cluster_status: one line per component; fails unless every one is healthy.
cluster_status() {
  local bad=0 names=(etcd kube-apiserver kube-controller-manager node containerd kubelet) name
  [[ $# -eq 0 ]] || die "status takes no arguments"
  if ! load_settings || ! any_alive; then
    printf 'no cluster runs in %s\n' "$STATE"
    return 1
  fi
  if [[ $GATEWAY == start ]]; then names+=(gateway); fi
  if [[ $NAT == yes ]]; then names+=(router agent); fi
  for name in "${names[@]}"; do
    status_line "$name" "$(pid_of "$name" || true)" || bad=1
  done
  status_line pods - || bad=1
  return "$bad"
}

# status_line NAME PID: prints what is known of a component; fails unless it is healthy.
status_line() {
  local health=healthy
  if [[ -z $2 ]]; then
    health="not running"
  elif ! healthy "$1" >/dev/null 2>&1; then
    health="not healthy"
  fi
  if [[ $health != healthy && -e $LOG/$1.log ]]; then health+=", see $LOG/$1.log"; fi
  printf '%-24s %8s  %s\n' "$1" "${2:--}" "$health"
  [[ $health == healthy ]]
}

healthy() {
  case $1 in
    etcd) etcd_ok ;;
    kube-apiserver) apiserver_ok ;;
    kube-controller-manager) controller_manager_ok ;;
    node) node_ok ;;
    containerd) containerd_ok ;;
    kubelet) kubelet_ok ;;
    gateway) gateway_ok ;;
    router) router_apart ;;
    agent) agent_ok ;;
    pods) pods_ok ;;
  esac
}

# cluster_env: what a test needs to know, as shell exports.
cluster_env() {
  local name pid
  [[ $# -eq 0 ]] || die "env takes no arguments"
  if ! load_settings || ! any_alive; then die "no cluster runs in $STATE; run 'cluster up'"; fi
  local -A values=(
    [KUBECONFIG]=$ADMIN_KUBECONFIG
    [KUBECTL]=$KUBECTL
    [KUBERNETES_RELEASE]=$RELEASE
    [CLUSTER_STATE]=$STATE
    [PKI_DIR]=$PKI
    [CONF_DIR]=$CONF
    [LOG_DIR]=$LOG
    [DATA_DIR]=$STATE/data
    [APISERVER_URL]=$APISERVER_URL
    [CONTROL_PLANE_IP]=$CONTROL_PLANE_IP
    [NODE_NAME]=$NODE_NAME
    [NODE_IP]=$NODE_IP
    [NAT]=$NAT
    [AGENT_ADMIN_URL]=http://$AGENT_ADMIN_ADDRESS
    [POD_CIDR]=$POD_CIDR
    [SERVICE_CIDR]=$SERVICE_CIDR
    [POD_IP]=$(kubectl_admin get pod bb -o 'jsonpath={.status.podIP}')
    [EGRESS]=$EGRESS
    [EGRESS_SOCKET]=$EGRESS_SOCKET
    [EGRESS_URL]=$EGRESS_URL
    [GATEWAY_MODE]=$MODE
    [GATEWAY_CONFIG]=$GATEWAY_CONFIG
    [GATEWAY_ADMIN_URL]=$ADMIN_URL
  )
  for name in "${DAEMONS[@]}"; do
    pid=$(pid_of "$name" || true)
    name=${name^^}_PID
    values[${name//-/_}]=$pid
  done
  for name in $(printf '%s\n' "${!values[@]}" | sort); do
    printf 'export %s=%q\n' "$name" "${values[$name]}"
  done
}

# fetch_kubectls: gets the releases that this machine lacks into the cache; fails for none of them.
fetch_kubectls() {
  need python3 python3
  lock "$BUILD_LOCK_FD" "$K8S/kubectls.lock"
  cluster_kubectls | python3 -B "$CLUSTER_D/kubectls.py" "$KUBECTLS" ||
    warn "not every release of kubectl could be got"
  unlock "$BUILD_LOCK_FD"
}

# cluster_kubectls: "PATH VERSION" of every kubectl on PATH, next to what a link there points to
# (some distributions keep several releases in one place), and in the cache; oldest first.
cluster_kubectls() {
  local directory file version
  local -A seen=()
  if [[ ${1-} == --fetch ]]; then
    shift
    fetch_kubectls >&2
  fi
  [[ $# -eq 0 ]] || die "kubectls does not know '$1'; see 'cluster help'"
  while read -r directory; do
    for file in "$directory"/kubectl "$directory"/kubectl[.-][0-9]*; do
      [[ -f $file && -x $file ]] || continue
      file=$(realpath "$file")
      [[ -z ${seen[$file]-} ]] || continue
      seen[$file]=yes
      version=$("$file" version --client -o json 2>/dev/null |
        sed -n 's/.*"gitVersion": "\(.*\)".*/\1/p' | head -n 1) || continue
      [[ -z $version ]] || printf '%s %s\n' "$file" "$version"
    done
  done < <(kubectl_directories) | sort -k2,2V -k1,1
}

# kubectl_directories: where a kubectl may be, one directory per line.
kubectl_directories() {
  local directory
  printf '%s\n' "$BIN" "$KUBECTLS"
  while read -r -d : directory; do
    [[ -n $directory ]] || continue
    printf '%s\n' "$directory"
    [[ ! -e $directory/kubectl ]] || dirname "$(realpath "$directory/kubectl")"
  done <<<"$PATH:"
}
