# shellcheck shell=bash disable=SC2034 # the names are for the other files
# Names, addresses and files of one cluster, all of them derived from the state directory and the
# index.

PKI=$STATE/pki
CONF=$STATE/conf
RUN=$STATE/run
LOG=$STATE/log

NODE_NAME=node1

# The link between the host, where the control plane lives, and the node. Neither end is a
# loopback address: the API server refuses those for nodes/proxy, and so does the gateway.
CONTROL_PLANE_IP=10.231.$INDEX.1
ROUTER_IP=10.231.$INDEX.2
NODE_IP=$ROUTER_IP
LINK_CIDR=10.231.$INDEX.0/24
LINK=esplice$INDEX
# Pods are behind a bridge in the node; the host reaches them over the node.
POD_CIDR=10.232.$INDEX.0/24
# Behind a NAT the node has an address that the host has no route to, and the router has the one
# above.
NAT_NODE_IP=10.233.$INDEX.2
NAT_ROUTER_IP=10.233.$INDEX.1
NAT_CIDR=10.233.$INDEX.0/24
# Nothing translates service addresses: there is no kube-proxy. services/NAME/proxy needs none.
SERVICE_CIDR=10.96.0.0/16
SERVICE_IP=10.96.0.1

APISERVER_URL=https://$CONTROL_PLANE_IP:6443

# Where the API server looks for the gateway.
EGRESS_SOCKET=$RUN/egress.sock
EGRESS_ADDRESS=$CONTROL_PLANE_IP:8131
EGRESS_URL=https://$EGRESS_ADDRESS

# Where agents of tunnels look for the gateway.
TUNNEL_ADDRESS=$CONTROL_PLANE_IP:8133

# What no node and no pod may reach: a loopback address that other clusters do not use.
LOOPBACK_IP=127.231.$INDEX.1
ETCD_URL=https://$LOOPBACK_IP:2379
CONTROLLER_MANAGER_URL=https://$LOOPBACK_IP:10257
ADMIN_ADDRESS=$LOOPBACK_IP:9464
ADMIN_URL=http://$ADMIN_ADDRESS
# In the node, which has a loopback device of its own.
AGENT_ADMIN_ADDRESS=127.0.0.1:9465

ADMIN_KUBECONFIG=$PKI/admin.kubeconfig
CONTAINERD_SOCKET=$RUN/containerd.sock

# What stands in the gateway's configuration where there is a tunnel, and in the PKI's.
VIA='' TUNNEL_LISTENER='# no tunnels' TUNNEL='' GRANT='' AGENT=''

# What `up` was asked for, for the other subcommands: EGRESS, MODE, NAT, GATEWAY, GATEWAY_CONFIG, EYESPLICE,
# KUBERNETES; and what was found of it: RELEASE, KUBECTL.
SETTINGS=$STATE/settings

# The cgroup, in each hierarchy and below that of the caller, that holds the whole node.
CGROUP=eyesplice-cluster-$INDEX

# load_settings: reads what `up` was asked for; fails when there is no cluster.
load_settings() {
  EGRESS=none MODE=splice NAT=no GATEWAY=none GATEWAY_CONFIG= KUBERNETES= RELEASE=$KUBERNETES_VERSION KUBECTL=$BIN/kubectl
  [[ -r $SETTINGS ]] || return 1
  # shellcheck disable=SC1090 # written by save_settings
  source "$SETTINGS"
  place_node
}

# place_node: gives the node the address that it has behind a NAT, if it is behind one.
place_node() {
  if [[ $NAT == yes ]]; then NODE_IP=$NAT_NODE_IP AGENT=$NODE_NAME VIA=', via: tunnel'; fi
}

save_settings() {
  printf '%s\n' "$INDEX" >"$STATE/index"
  printf '%s=%q\n' EGRESS "$EGRESS" MODE "$MODE" NAT "$NAT" GATEWAY "$GATEWAY" \
    GATEWAY_CONFIG "$GATEWAY_CONFIG" \
    EYESPLICE "$EYESPLICE" KUBERNETES "$KUBERNETES" RELEASE "$RELEASE" KUBECTL "$KUBECTL" >"$SETTINGS"
}

# render TEMPLATE FILE: copies a template of conf/ with its @NAME@ marks filled in.
render() {
  local text name
  text=$(<"$CLUSTER_D/conf/$1")
  for name in STATE PKI LOG BIN NODE_NAME NODE_IP POD_CIDR EGRESS_SOCKET EGRESS_ADDRESS EGRESS_URL \
    TUNNEL_ADDRESS AGENT_ADMIN_ADDRESS TUNNEL_LISTENER \
    TUNNEL VIA GRANT AGENT ADMIN_ADDRESS CONTAINERD_SOCKET APISERVER_URL SERVICE_IP CONTROL_PLANE_IP LOOPBACK_IP; do
    text=${text//"@$name@"/"${!name}"}
  done
  [[ $text != *@+([A-Z_])@* ]] || die "conf/$1 has a mark that render() does not know"
  printf '%s\n' "$text" >"$2"
}

# kubectl_super ARGUMENT...: as the super administrator, whom RBAC never refuses.
kubectl_super() {
  "$KUBECTL" --kubeconfig "$PKI/super-admin.kubeconfig" --cache-dir "$RUN/kubectl-cache" "$@"
}

# kubectl_admin ARGUMENT...: the kubectl of the cluster's own release, as cluster administrator.
kubectl_admin() {
  "$KUBECTL" --kubeconfig "$ADMIN_KUBECONFIG" --cache-dir "$RUN/kubectl-cache" "$@"
}
