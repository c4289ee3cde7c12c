# shellcheck shell=bash disable=SC2034 # some names are for other files
# `cluster up`: starts a cluster from nothing, or leaves nothing behind.

# The time limits of `up`, in seconds: enough for two processors that others keep busy. When they
# are idle, all of `up` takes 13 s.
readonly APISERVER_WAIT_S=180 NODE_WAIT_S=180 PODS_WAIT_S=270 WAIT_S=60

cluster_up() {
  EGRESS=none MODE=splice NAT=no GATEWAY=start GATEWAY_CONFIG= KUBERNETES=
  up_options "$@"
  [[ $EUID -eq 0 ]] || die "up makes namespaces, cgroups and mounts: run it as root"
  need ip iproute2
  need nsenter util-linux
  need curl curl
  [[ $NAT == no ]] || { need nft nftables && need python3 python3; }
  find_eyesplice
  check_release
  build_missing
  lock "$CLUSTER_LOCK_FD" "$CLUSTER_LOCK"
  refuse_second_cluster && return
  tear_down # what a crash may have left
  forget_state
  link_check_free
  trap up_failed EXIT
  up_start
  trap - EXIT
  unlock "$CLUSTER_LOCK_FD"
  up_summary
}

up_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --no-gateway) GATEWAY=none ;;
      --nat) NAT=yes ;;
      --egress | --mode | --eyesplice | --gateway-config | --kubernetes)
        [[ $# -ge 2 ]] || die "$1 needs a value"
        case $1 in
          --egress) EGRESS=$2 ;;
          --mode) MODE=$2 ;;
          --eyesplice) EYESPLICE=$2 ;; # for find_eyesplice
          --kubernetes) KUBERNETES=$(realpath -e "$2") || die "$2 does not exist" ;;
          --gateway-config) GATEWAY_CONFIG=$(realpath -e "$2") || die "$2 does not exist" ;;
        esac
        shift ;;
      *) die "up does not know '$1'; see 'cluster help'" ;;
    esac
    shift
  done
  [[ $EGRESS == @(none|uds|tcp) ]] || die "--egress is none, uds or tcp, not '$EGRESS'"
  [[ $MODE == @(splice|terminate) ]] || die "--mode is splice or terminate, not '$MODE'"
  if [[ $EGRESS == none ]]; then
    [[ $MODE == splice && -z $GATEWAY_CONFIG ]] ||
      die "--mode and --gateway-config are for a gateway, and --egress none has no gateway"
    GATEWAY=none
  fi
  [[ $NAT == no || $EGRESS != none ]] || die "--nat needs a gateway, whose agent runs on the node"
  place_node
}

# refuse_second_cluster: holds when the very cluster that is asked for is up already; ends the
# command when another one, or a broken one, has this state directory.
refuse_second_cluster() {
  local wanted="$INDEX $EGRESS $MODE $NAT $GATEWAY $GATEWAY_CONFIG $KUBERNETES" running
  any_alive || return 1
  running=$(load_settings && printf '%s' "$(<"$STATE/index") $EGRESS $MODE $NAT $GATEWAY $GATEWAY_CONFIG $KUBERNETES") || true
  [[ $EGRESS == none || -n $GATEWAY_CONFIG ]] || wanted="$INDEX $EGRESS $MODE $NAT $GATEWAY $CONF/gateway.yaml $KUBERNETES"
  if [[ $running == "$wanted" ]] && cluster_status >/dev/null; then
    load_settings
    say "it is up already"
    up_summary
    return 0
  fi
  die "a cluster runs in $STATE with other settings, or it is not healthy; run 'cluster down' first"
}

up_start() {
  mkdir -p "$CONF" "$RUN" "$LOG" "$STATE/data"
  printf 'hello from the data directory\n' >"$STATE/data/index.html"
  make_pki
  make_tokens
  say "certificates and tokens made"

  node_make
  start_etcd
  await etcd "$WAIT_S" etcd_ok
  start_apiserver
  # The API server takes its time, and so does the kubelet before it asks for it: let them overlap.
  start_containerd
  start_kubelet
  if [[ $EGRESS != none ]]; then configure_gateway; fi
  save_settings
  if [[ $GATEWAY == start ]]; then start_gateway; fi
  await kube-apiserver "$APISERVER_WAIT_S" apiserver_ok
  say "API server ready"
  if [[ $GATEWAY == start ]]; then await gateway "$WAIT_S" gateway_ok; fi
  # It waits for its gateway, be that somebody else's to start.
  if [[ $NAT == yes ]]; then start_agent; fi

  start_controller_manager
  render pods.yaml "$CONF/pods.yaml"
  # The roles themselves are made by the API server, a moment after it is ready.
  await kube-apiserver "$WAIT_S" kubectl_super apply -f "$CLUSTER_D/conf/admin.yaml"
  # Each of these fails until the API server or a controller has made what it builds on.
  await kube-apiserver "$WAIT_S" kubectl_admin apply -f "$CLUSTER_D/conf/rbac.yaml"
  await kube-apiserver "$WAIT_S" kubectl_admin apply -f "$CONF/pods.yaml"
  await kube-controller-manager "$WAIT_S" controller_manager_ok
  await kubelet "$NODE_WAIT_S" node_ok
  say "node ready"
  await kubelet "$PODS_WAIT_S" pods_ok
  await kube-controller-manager "$WAIT_S" service_ok
}

node_ok() { kubectl_admin wait --for condition=Ready "node/$NODE_NAME" --timeout 1s; }

pods_ok() { kubectl_admin wait --for condition=Ready pod --all --timeout 1s; }

service_ok() {
  [[ -n $(kubectl_admin get endpoints bb -o 'jsonpath={.subsets[*].addresses[*].ip}') ]]
}

# Leaves the logs and the configuration for whoever wants to know why.
up_failed() {
  local status=$?
  trap - EXIT
  warn "up failed after $SECONDS s; taking down what it started, the logs stay in $LOG"
  tear_down
  exit "$status"
}

up_summary() {
  say "the cluster is up"
  printf '  %-12s %s\n' Kubernetes "$RELEASE" kubeconfig "$ADMIN_KUBECONFIG" 'API server' "$APISERVER_URL" \
    node "$NODE_NAME $NODE_IP" egress "$EGRESS" NAT "$NAT" state "$STATE"
  if [[ $EGRESS == uds ]]; then printf '  %-12s %s\n' socket "$EGRESS_SOCKET"; fi
  if [[ $EGRESS == tcp ]]; then printf '  %-12s %s\n' proxy "$EGRESS_URL"; fi
  if [[ $GATEWAY == start ]]; then
    printf '  %-12s %s\n' gateway "$MODE, pid $(pid_of gateway), $GATEWAY_CONFIG"
  elif [[ $EGRESS != none ]]; then
    printf '  %-12s %s\n' gateway "$MODE, yours to start; until then nothing reaches the node"
  fi
}
