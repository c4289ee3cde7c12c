//! Asks API servers again about what is remembered, one question after the other: a right that was
//! taken away, or a pod that has gone, is forgotten while they can still say so.

use super::memory::{Key, Memory};
use super::place::{Node, Place, Pod, ask_for_node, ask_for_pod};
use super::{Short, Why, the_pod};
use eyesplice_identity::access::{Access, AskError};
use eyesplice_proto::api::{PodStream, Subresource};
use std::collections::BTreeMap;
use std::time::SystemTime;

impl Short {
    /// Asks about all that is remembered. What is not answered stays as it is; where nothing is,
    /// because none of the API servers is `well` any more, the rest is not asked.
    pub(crate) async fn recheck(&self, memory: &Memory, now: SystemTime, well: impl Fn() -> bool) {
        for subresource in Subresource::ALL.iter().filter(|it| it.upgrades()) {
            if self.admit(*subresource).await == Err(Why::Admission) {
                memory.forget_kind(*subresource);
            }
        }
        for (key, review) in memory.reviews() {
            let Key { stream, verb, .. } = &key;
            let access = Access {
                verb,
                namespace: &stream.namespace,
                pod: &stream.pod,
                subresource: stream.subresource.as_str(),
            };
            match self.access.allows(&review.user, access).await {
                Ok(None) => {
                    memory.forget_user(&review.user.username, stream);
                    continue;
                }
                Err(_) if !well() => return,
                Ok(Some(_)) | Err(_) => {}
            }
            if let Ok(reads) = self.access.allows(&review.user, the_pod(stream)).await {
                memory.reads(&key, reads.is_some());
            }
        }
        let mut nodes = BTreeMap::new();
        for ((namespace, name), _) in memory.places() {
            // Which stream it is does not matter.
            let stream = PodStream {
                subresource: Subresource::Log,
                namespace,
                pod: name,
            };
            let pod = match self.cluster.read::<Pod>(&ask_for_pod(&stream)).await {
                Ok(pod) if pod.is(&stream) => pod,
                Err(AskError::Missing(_)) => {
                    memory.forget_place(&stream.namespace, &stream.pod);
                    continue;
                }
                Err(_) if !well() => return,
                Ok(_) | Err(_) => continue,
            };
            let Ok(node) = pod.node().map(str::to_owned) else {
                memory.forget_place(&stream.namespace, &stream.pod);
                continue;
            };
            if !nodes.contains_key(&node) {
                let found = self.looked_up(&node).await;
                nodes.insert(node.clone(), found);
            }
            let of_pod = (&*stream.namespace, &*stream.pod);
            match nodes.get(&node) {
                Some(Looked::There(node)) => {
                    memory.moved(of_pod, &Place::new(pod, node.clone()), now);
                }
                Some(Looked::Gone) => memory.forget_place(&stream.namespace, &stream.pod),
                Some(Looked::Unanswered) | None => {}
            }
        }
    }

    async fn looked_up(&self, name: &str) -> Looked {
        let Some(question) = ask_for_node(name) else {
            return Looked::Gone;
        };
        match self.cluster.read::<Node>(&question).await {
            Ok(node) if node.name() == name => Looked::There(node),
            Ok(_) | Err(AskError::Missing(_)) => Looked::Gone,
            Err(_) => Looked::Unanswered,
        }
    }
}

/// A node, as far as it is known.
enum Looked {
    There(Node),
    Gone,
    /// Nobody says so.
    Unanswered,
}
