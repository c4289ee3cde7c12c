//! Leads a stream to the kubelet of the place where its pod is.

use super::place::Place;
use super::wanted::Wanted;
use super::{Kubelet, KubeletRequest, Kubelets, Question, Reached, Short, Why, head};
use eyesplice_dataplane::seam::{Fresh, Tallies};
use eyesplice_identity::access::token_of;
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::{self, Part, Protocols, Subresource};
use eyesplice_proto::head::{RequestHead, RequestTarget};
use std::sync::Arc;
use std::time::SystemTime;

/// The feature of nodes whose kubelet understands what API servers translate for others.
const TRANSLATES: &str = "ExtendWebSocketsToKubelet";

/// A request to a kubelet, of nobody in particular.
#[derive(Debug)]
pub(crate) struct Led {
    head: RequestHead,
    fresh: Fresh,
    node: Arc<str>,
    container: Option<Arc<str>>,
    subresource: Subresource,
}

/// By whose right it is made.
#[derive(Debug)]
pub(crate) struct Right {
    /// Whose it is.
    pub(crate) user: Arc<UserInfo>,
    /// Why the user may: the authorizer's own words.
    pub(crate) allowed: Arc<str>,
    /// When it has to end.
    pub(crate) until: Option<SystemTime>,
    /// The serial number of the certificate, where no API server could be asked.
    pub(crate) break_glass: Option<Arc<str>>,
}

impl Led {
    /// Says by whose right.
    pub(crate) fn by(self, right: Right) -> KubeletRequest {
        let Right {
            user,
            allowed,
            until,
            break_glass,
        } = right;
        KubeletRequest {
            head: self.head,
            fresh: self.fresh,
            user,
            allowed,
            node: self.node,
            container: self.container,
            reply: head::of_reply(self.subresource),
            until,
            break_glass,
        }
    }
}

impl Short {
    /// Leads a stream to a place.
    pub(crate) async fn lead(
        &self,
        kubelets: &dyn Kubelets,
        asked: &Question<'_>,
        wanted: &Wanted,
        place: &Place,
    ) -> Result<Led, Why> {
        let Place { pod, node } = place;
        let subresource = asked.stream.subresource;
        let container = wanted.container(asked.stream, pod)?;
        if wanted.protocols == Protocols::Kubelet && !node.declares(TRANSLATES) {
            return Err(Why::Translation);
        }
        let part = container.map_or(Part::Whole(pod.uid()), Part::Container);
        let target = api::kubelet_target(asked.stream, part, &wanted.options);
        let target = target.map_err(|_| Why::Query)?;
        let node_name: Arc<str> = node.name().into();
        let kubelet = Kubelet {
            node: &node_name,
            host: node.address(&self.address_types)?,
            port: node.port(),
            action: subresource.action(),
            with_certificate: self.kubelet_token.is_none(),
        };
        let head = self.head(asked, target, &kubelet).await?;
        let Reached { way, tls } = kubelets.reach(kubelet).await?;
        Ok(Led {
            head,
            fresh: Fresh {
                way,
                tls,
                server: format!("kubelet of node {node_name}").into(),
                node: Some(Arc::clone(&node_name)),
                key: None,
                tallies: Tallies::default(),
            },
            node: node_name,
            container: container.map(Arc::from),
            subresource,
        })
    }

    async fn head(
        &self,
        asked: &Question<'_>,
        target: RequestTarget,
        kubelet: &Kubelet<'_>,
    ) -> Result<RequestHead, Why> {
        let token = match &self.kubelet_token {
            None => None,
            Some(path) => match token_of(path.clone()).await {
                Ok(token) => Some(token),
                Err(error) => return Err(self.complaints.unanswered(Why::Credential, &error)),
            },
        };
        let head = match asked.stream.subresource {
            Subresource::Log => head::fresh(target, &kubelet.host, kubelet.port),
            _ => head::passed_on(asked.head, target, asked.peer),
        };
        head.and_then(|head| head::with_token(head, token.as_ref()))
            .ok_or(Why::Credential)
    }
}
