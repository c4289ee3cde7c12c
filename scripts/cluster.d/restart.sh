# shellcheck shell=bash
# `cluster restart`: ends one component and starts it again as it was, for tests of what survives it.

cluster_restart() {
  [[ $# -eq 1 ]] || die "restart takes one component: etcd, kube-apiserver, kube-controller-manager, kubelet, agent or gateway"
  [[ $EUID -eq 0 ]] || die "restart ends what root started: run it as root"
  if ! load_settings || ! any_alive; then die "no cluster runs in $STATE; run 'cluster up'"; fi
  case $1 in
    etcd)
      end KILL etcd "$LOOPBACK_IP:2379" "$LOOPBACK_IP:2380"
      start_etcd
      await etcd "$WAIT_S" etcd_ok
      await kube-apiserver "$APISERVER_WAIT_S" apiserver_ok ;;
    kube-controller-manager)
      end KILL kube-controller-manager "$LOOPBACK_IP:10257"
      start_controller_manager
      await kube-controller-manager "$WAIT_S" controller_manager_ok ;;
    kube-apiserver)
      end KILL kube-apiserver "$CONTROL_PLANE_IP:6443"
      start_apiserver
      await kube-apiserver "$APISERVER_WAIT_S" apiserver_ok ;;
    kubelet)
      end KILL kubelet
      start_kubelet
      await kubelet "$NODE_WAIT_S" kubelet_answers
      await kubelet "$NODE_WAIT_S" node_ok
      await kubelet "$PODS_WAIT_S" pods_ok
      await kubelet "$PODS_WAIT_S" kubelet_knows_pods ;;
    agent)
      [[ $NAT == yes ]] || die "only a node behind a NAT has an agent"
      end TERM agent
      start_agent
      await agent "$WAIT_S" agent_ok ;;
    gateway)
      [[ $GATEWAY == start ]] || die "the gateway is not this script's: it was started with --no-gateway"
      end TERM gateway
      start_gateway
      await gateway "$WAIT_S" gateway_ok ;;
    *) die "restart knows etcd, kube-apiserver, kube-controller-manager, kubelet, agent and gateway, not '$1'" ;;
  esac
  say "$1 runs again, pid $(pid_of "$1")"
}

# end SIGNAL NAME [ADDRESS...]: ends a component, by force if it does not go by itself, and waits until
# nobody listens at its addresses any more: the last of its threads closes them after it was seen to end.
end() {
  signal "$1" "$2"
  poll "$GATEWAY_GRACE_S" gone "$2" || signal KILL "$2"
  poll "$GATEWAY_GRACE_S" gone "$2" || die "$2 does not end"
  local address
  for address in "${@:3}"; do
    poll "$GATEWAY_GRACE_S" is_free "$address" ||
      die "$2 ended, but somebody listens at $address: $(ss -Htlnp src "$address")"
  done
}

# is_free ADDRESS: holds when nobody listens there.
is_free() { [[ -z $(ss --no-header --listening --tcp --numeric src "$1") ]]; }

# kubelet_knows_pods: holds when the kubelet has heard of its pods again. Until then it answers 404 to an
# exec, while the API server still shows what it knew of them before.
kubelet_knows_pods() {
  at_node curl --silent --fail --insecure --max-time 2 --cert "$PKI/apiserver-kubelet-client.crt" \
    --key "$PKI/apiserver-kubelet-client.key" "https://$NODE_IP:10250/pods" | grep -q '"name":"bb"'
}

# kubelet_answers: holds when the kubelet listens, whatever certificate it shows.
kubelet_answers() {
  [[ $(at_node curl --silent --insecure --max-time 2 --output /dev/null --write-out '%{http_code}' \
    "https://$NODE_IP:10250/healthz") == 401 ]]
}
