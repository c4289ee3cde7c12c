//! Where a stream leads: the pod, the container that is meant, the node and its address.

use super::Why;
use crate::config::AddressType;
use eyesplice_identity::access::Ask;
use eyesplice_identity::inventory::check_node_name;
use eyesplice_proto::api::PodStream;
use eyesplice_proto::target::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest object: etcd keeps none over 1.5 MiB, and JSON is longer than what it keeps.
const MAX_OBJECT: usize = 8 << 20;
/// Where kubelets listen that do not say.
const KUBELET_PORT: u16 = 10250;
/// Marks a pod that a kubelet made for a file of its own; the kubelet knows it by another UID.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Names the container that kubectl takes where its user names none.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Asks for a pod: no resource version, so the answer is not from a cache.
pub(super) fn ask_for_pod(stream: &PodStream) -> Ask {
    let PodStream { namespace, pod, .. } = stream;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    Ask::get(path, MAX_OBJECT)
}

/// Asks for a node in the same way; `None`: it cannot have that name.
pub(super) fn ask_for_node(name: &str) -> Option<Ask> {
    check_node_name(name).ok()?;
    Some(Ask::get(format!("/api/v1/nodes/{name}"), MAX_OBJECT))
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing)]
    labels: Option<BTreeMap<String, String>>,
}

/// A pod, as far as it matters here. It is written as far as it matters to a client that opens a
/// stream of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pod {
    metadata: Metadata,
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    node_name: String,
    containers: Vec<Container>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init_containers: Option<Vec<Container>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Container {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<Port>>,
    /// Whether attach has a standard input, and a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tty: Option<bool>,
}

/// A port that port-forward may be asked for by its name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    name: String,
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    phase: String,
    #[serde(default, skip_serializing)]
    container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(default, skip_serializing)]
    init_container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(default, skip_serializing)]
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(default, rename = "containerID")]
    container_id: String,
    #[serde(default)]
    state: ContainerState,
    #[serde(default)]
    last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ContainerState {
    #[serde(default)]
    running: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Deserialize)]
struct Terminated {
    #[serde(default, rename = "containerID")]
    container_id: String,
}

impl Pod {
    /// Says whether it is the one that was asked for.
    pub(super) fn is(&self, stream: &PodStream) -> bool {
        self.metadata.name == *stream.pod && self.metadata.namespace == *stream.namespace
    }

    /// Its node.
    pub(super) fn node(&self) -> Result<&str, Why> {
        match self.spec.node_name.as_str() {
            "" => Err(Why::Unscheduled),
            name => Ok(name),
        }
    }

    /// Its labels.
    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.metadata.labels.as_ref()
    }

    /// The UID by which its kubelet knows it, if that is sure.
    pub(super) fn uid(&self) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref();
        let mirror = annotations.is_some_and(|all| all.contains_key(MIRROR));
        (!mirror && !self.metadata.uid.is_empty()).then_some(&*self.metadata.uid)
    }

    /// The container that the API server chooses: the one that is named, of any kind, or the only
    /// one.
    pub(super) fn container(&self, named: Option<&str>) -> Result<&str, Why> {
        let spec = &self.spec;
        let found = match named {
            None => match &spec.containers[..] {
                [only] => Some(only),
                _ => None,
            },
            Some(named) => {
                let others = spec
                    .init_containers
                    .iter()
                    .chain(&spec.ephemeral_containers);
                let mut all = spec.containers.iter().chain(others.flatten());
                all.find(|container| container.name == named)
            }
        };
        found.map(|found| &*found.name).ok_or(Why::Container)
    }

    /// Says whether the kubelet has a log of a container, of its run before if `previous`. If it
    /// has not, it says why in words that only the API server makes a `Status` of.
    pub(super) fn has_log(&self, container: &str, previous: bool) -> bool {
        let status = &self.status;
        let kinds = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let mut all = kinds.into_iter().flatten().flatten();
        let Some(status) = all.find(|status| status.name == container) else {
            return false;
        };
        let ended = |state: &ContainerState| {
            state
                .terminated
                .as_ref()
                .is_some_and(|it| !it.container_id.is_empty())
        };
        if previous {
            return ended(&status.last_state);
        }
        let running = status.state.running.is_some() && !status.container_id.is_empty();
        running || ended(&status.state) || ended(&status.last_state)
    }
}

/// Where a pod is: both as API servers had them.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) pod: Arc<Pod>,
    pub(crate) node: Arc<Node>,
}

/// Containers of one pod whose place is remembered.
const MAX_CONTAINERS: usize = 64;
/// Labels and named ports of one pod, and addresses and features of its node.
const MAX_ENTRIES: usize = 64;
/// Longest name that is kept of a default container: no container has a longer one.
const MAX_NAME: usize = 63;

impl Place {
    pub(super) fn new(pod: Pod, node: Node) -> Self {
        Self {
            pod: Arc::new(pod),
            node: Arc::new(node),
        }
    }

    /// The same without what does not matter, for keeping: at most some 50 KiB. `None`: there is
    /// too much of it.
    pub(crate) fn to_keep(&self) -> Option<Self> {
        let (mut pod, mut node) = (Pod::clone(&self.pod), Node::clone(&self.node));
        if let Some(annotations) = &mut pod.metadata.annotations {
            annotations.retain(|name, value| match &**name {
                // That it is there is all of it.
                MIRROR => {
                    value.clear();
                    true
                }
                DEFAULT_CONTAINER => value.len() <= MAX_NAME,
                _ => false,
            });
        }
        pod.spec.keep_named_ports();
        (node.metadata.annotations, node.metadata.labels) = (None, None);
        let labels = pod.labels().map_or(0, BTreeMap::len);
        let NodeStatus {
            addresses,
            declared_features,
            ..
        } = &node.status;
        let of_node =
            addresses.as_ref().map_or(0, Vec::len) + declared_features.as_ref().map_or(0, Vec::len);
        let fits = pod.spec.all().count() <= MAX_CONTAINERS
            && labels <= MAX_ENTRIES
            && of_node <= MAX_ENTRIES;
        fits.then(|| Self::new(pod, node))
    }
}

impl PodSpec {
    /// Containers of every kind.
    fn all(&mut self) -> impl Iterator<Item = &mut Container> {
        let others = [&mut self.init_containers, &mut self.ephemeral_containers];
        self.containers
            .iter_mut()
            .chain(others.into_iter().flatten().flatten())
    }

    /// Forgets ports without a name, which nobody looks up, and all of them if there are too many.
    fn keep_named_ports(&mut self) {
        let mut count = 0;
        for ports in self.all().filter_map(|container| container.ports.as_mut()) {
            ports.retain(|port| !port.name.is_empty());
            count += ports.len();
        }
        if count > MAX_ENTRIES {
            self.all().for_each(|container| container.ports = None);
        }
    }
}

#[cfg(test)]
impl Place {
    /// Of objects as the API has them.
    pub(crate) fn of(pod: serde_json::Value, node: serde_json::Value) -> Self {
        let pod = serde_json::from_value(pod).unwrap();
        Self::new(pod, serde_json::from_value(node).unwrap())
    }
}

/// A node, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    metadata: Metadata,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    addresses: Option<Vec<Address>>,
    #[serde(default)]
    daemon_endpoints: DaemonEndpoints,
    #[serde(default)]
    declared_features: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    r#type: String,
    address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DaemonEndpoints {
    #[serde(default)]
    kubelet_endpoint: Endpoint,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Endpoint {
    #[serde(default, rename = "Port")]
    port: u16,
}

impl Node {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The address that the API server would take: the first of the first type that there is.
    pub(crate) fn address(&self, types: &[AddressType]) -> Result<Host, Why> {
        let all = || self.status.addresses.iter().flatten();
        let of = |wanted: &AddressType| all().find(|it| it.r#type == wanted.as_str());
        let found = types.iter().find_map(of).ok_or(Why::Node)?;
        found.address.parse().map_err(|_| Why::Node)
    }

    /// The port of its kubelet.
    pub(crate) fn port(&self) -> u16 {
        match self.status.daemon_endpoints.kubelet_endpoint.port {
            0 => KUBELET_PORT,
            port => port,
        }
    }

    /// Says whether its kubelet has a feature.
    pub(super) fn declares(&self, feature: &str) -> bool {
        let mut declared = self.status.declared_features.iter().flatten();
        declared.any(|declared| declared == feature)
    }
}
