//! The short way: a stream of a pod goes straight to its kubelet, where everything that the API
//! server would judge can be judged exactly as it would.
//!
//! Each condition that does not hold, or is not known to, sends the request through the API server,
//! which words its own refusals: [`Why`] lists them. Nothing is refused here.

mod admission;
mod caller;
mod complaints;
mod head;
mod place;
mod why;

pub(crate) use why::Why;

use crate::config::{AddressType, Admission, ShortWay};
use admission::Admissions;
use caller::Caller;
use complaints::Complaints;
use eyesplice_dataplane::seam::{Fresh, Tallies, UpstreamTls, Way};
use eyesplice_identity::access::{
    Access, AccessReviews, Cluster, ClusterSettings, TokenReviews, token_of,
};
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::{self, Options, Part, PodStream, Protocols, Subresource};
use eyesplice_proto::head::{Method, RequestHead, RequestTarget};
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::hop::Identity;
use eyesplice_proto::route::Action;
use eyesplice_proto::target::Host;
use place::{Node, Pod};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// The feature of nodes whose kubelet understands what API servers translate for others.
const TRANSLATES: &str = "ExtendWebSocketsToKubelet";

/// The short way of one configuration, with what it remembers.
#[derive(Debug)]
pub(crate) struct Short {
    admission: Admission,
    address_types: Vec<AddressType>,
    kubelet_token: Option<PathBuf>,
    end_with_credential: bool,
    patience: Duration,
    cluster: Arc<Cluster>,
    tokens: TokenReviews,
    access: AccessReviews,
    admissions: Admissions,
    complaints: Complaints,
}

/// A request that asks for a stream of a pod.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// Which.
    pub(crate) stream: &'a PodStream,
    /// Its head as it came, without what concerns the client's connection alone.
    pub(crate) head: &'a RequestHead,
    /// The upgrade that it asks for.
    pub(crate) upgrade: Option<&'static str>,
    /// A body is announced.
    pub(crate) has_body: bool,
    /// Whose it is by a validated certificate, and when that ends; `None`: there is none that is
    /// valid.
    pub(crate) by_certificate: Option<(Arc<UserInfo>, SystemTime)>,
    /// Where it comes from.
    pub(crate) peer: IpAddr,
    /// When it came.
    pub(crate) now: SystemTime,
}

/// How a stream of a pod goes.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// To the kubelet.
    Kubelet(Box<KubeletRequest>),
    /// Through the API server, as it came.
    Through {
        /// Why.
        why: Why,
        /// Whose it is, if that is known.
        user: Option<Arc<str>>,
    },
}

/// A request to a kubelet, and the connection to it.
#[derive(Debug)]
pub(crate) struct KubeletRequest {
    /// Its head.
    pub(crate) head: RequestHead,
    /// The connection.
    pub(crate) fresh: Fresh,
    /// Whose it is.
    pub(crate) user: Arc<UserInfo>,
    /// Why the user may: the authorizer's own words.
    pub(crate) allowed: Arc<str>,
    /// Its node.
    pub(crate) node: Arc<str>,
    /// The container that the API server would choose; none for ports.
    pub(crate) container: Option<Arc<str>>,
    /// What the reply says in place of the kubelet's own words.
    pub(crate) reply: Vec<(HeaderName, HeaderValue)>,
    /// When it has to end, if it ends with its credential.
    pub(crate) until: Option<SystemTime>,
}

/// A kubelet that is to be reached.
#[derive(Debug)]
pub(crate) struct Kubelet<'a> {
    /// Its node, whose certificate it must have.
    pub(crate) node: &'a Arc<str>,
    /// The node's address.
    pub(crate) host: Host,
    /// Its port.
    pub(crate) port: u16,
    /// What it will be asked for.
    pub(crate) action: Action,
    /// We have no token for it, so our certificate is presented.
    pub(crate) with_certificate: bool,
}

/// How a kubelet is reached.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The way.
    pub(crate) way: Way,
    /// TLS with it, which validates it.
    pub(crate) tls: UpstreamTls,
}

/// An answer of [`Kubelets`].
pub(crate) type Reaching<'a> = Pin<Box<dyn Future<Output = Result<Reached, Why>> + Send + 'a>>;

/// Who knows how kubelets are reached and validated: the egress rules and the `kubelet` section.
pub(crate) trait Kubelets: fmt::Debug + Send + Sync {
    /// Says how; `Err`: it may not be reached, or not be validated.
    fn reach<'a>(&'a self, kubelet: Kubelet<'a>) -> Reaching<'a>;
}

impl Short {
    /// Makes the short way of one configuration. It asks `cluster`, and gives up after `patience`.
    pub(crate) fn new(settings: &ShortWay, cluster: ClusterSettings, patience: Duration) -> Self {
        let cluster = Arc::new(Cluster::new(cluster));
        Self {
            admission: settings.admission,
            address_types: settings.address_types.clone(),
            kubelet_token: settings
                .kubelet_token_file
                .as_ref()
                .map(|file| file.path.clone()),
            end_with_credential: settings.end_with_credential,
            patience,
            tokens: TokenReviews::new(Arc::clone(&cluster)),
            access: AccessReviews::new(Arc::clone(&cluster)),
            admissions: Admissions::new(Arc::clone(&cluster)),
            complaints: Complaints::default(),
            cluster,
        }
    }

    /// Judges one request.
    pub(crate) async fn judge(&self, kubelets: &dyn Kubelets, asked: &Question<'_>) -> Outcome {
        let mut user = None;
        let judged = timeout(self.patience, self.request(kubelets, asked, &mut user)).await;
        match judged {
            Ok(Ok(request)) => Outcome::Kubelet(Box::new(request)),
            Ok(Err(why)) => Outcome::Through { why, user },
            Err(_) => Outcome::Through {
                why: Why::Slow,
                user,
            },
        }
    }

    async fn request(
        &self,
        kubelets: &dyn Kubelets,
        asked: &Question<'_>,
        user: &mut Option<Arc<str>>,
    ) -> Result<KubeletRequest, Why> {
        let Wanted { options, protocols } = wanted(asked)?;
        let credential = caller::credential(asked)?;
        // What follows waits for others, so it is not for the worker's thread, which polls once.
        tokio::task::yield_now().await;
        let caller = self.caller(credential, asked.now).await?;
        *user = Some(caller.user.username.as_str().into());
        let (allowed, admitted) = tokio::join!(
            self.authorise(asked, &caller.user),
            self.admit(asked.stream)
        );
        let allowed = allowed?;
        admitted?;
        let pod = self.pod(asked.stream).await?;
        let container = chosen(asked.stream.subresource, &pod, &options)?;
        let node = self.node(pod.node()?).await?;
        if protocols == Protocols::Kubelet && !node.declares(TRANSLATES) {
            return Err(Why::Translation);
        }
        let part = container.map_or(Part::Whole(pod.uid()), Part::Container);
        let target = api::kubelet_target(asked.stream, part, &options);
        let target = target.map_err(|_| Why::Query)?;
        let node_name: Arc<str> = node.name().into();
        let kubelet = Kubelet {
            node: &node_name,
            host: node.address(&self.address_types)?,
            port: node.port(),
            action: asked.stream.subresource.action(),
            with_certificate: self.kubelet_token.is_none(),
        };
        let head = self.head(asked, target, &kubelet).await?;
        let Reached { way, tls } = kubelets.reach(kubelet).await?;
        Ok(KubeletRequest {
            head,
            fresh: Fresh {
                way,
                tls,
                server: format!("kubelet of node {node_name}").into(),
                node: Some(Arc::clone(&node_name)),
                key: None,
                tallies: Tallies::default(),
            },
            user: caller.user,
            allowed,
            node: node_name,
            container: container.map(Arc::from),
            reply: head::of_reply(asked.stream.subresource),
            until: caller.until.filter(|_| self.end_with_credential),
        })
    }

    /// Finds out whose a credential is.
    async fn caller(&self, credential: caller::Credential, now: SystemTime) -> Result<Caller, Why> {
        let caller = match credential {
            caller::Credential::Certificate(user, until) => Caller::by_certificate(&user, until),
            caller::Credential::Token(token) => match self.tokens.user(&token, now).await {
                Ok(Some(user)) => Caller::by_token(user, &token),
                Ok(None) => return Err(Why::Identity),
                Err(error) => return Err(self.complaints.unanswered(Why::Identity, &error)),
            },
        };
        caller.somebody()
    }

    /// Asks whether a user may have a stream, as the API server would: by the verb of the method,
    /// and for an upgrade by GET `create` as well. Says why, by the first.
    async fn authorise(&self, asked: &Question<'_>, user: &UserInfo) -> Result<Arc<str>, Why> {
        let verbs: &[&'static str] = match asked.upgrade {
            _ if asked.head.method == Method::POST => &["create"],
            None => &["get"],
            Some(_) => &["get", "create"],
        };
        let mut allowed = None;
        for verb in verbs {
            let access = Access {
                verb,
                namespace: &asked.stream.namespace,
                pod: &asked.stream.pod,
                subresource: asked.stream.subresource.as_str(),
            };
            match self.access.allows(user, access).await {
                Ok(Some(reason)) => allowed = allowed.or(Some(reason)),
                Ok(None) => return Err(Why::Denied),
                Err(error) => return Err(self.complaints.unanswered(Why::Access, &error)),
            }
        }
        allowed.ok_or(Why::Denied)
    }

    /// Makes sure that no admission is due, which only an API server can do. Logs have none.
    async fn admit(&self, stream: &PodStream) -> Result<(), Why> {
        if !stream.subresource.upgrades() {
            return Ok(());
        }
        if self.admission == Admission::Pass {
            return Err(Why::AdmissionStatic);
        }
        match self.admissions.may_match(stream.subresource).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => {
                tracing::debug!(%object, "admission may concern a stream");
                Err(Why::Admission)
            }
            Err(error) => Err(self.complaints.unanswered(Why::AdmissionUnknown, &error)),
        }
    }

    /// The pod as it is now.
    async fn pod(&self, stream: &PodStream) -> Result<Pod, Why> {
        let pod: Pod = match self.cluster.read(&place::ask_for_pod(stream)).await {
            Ok(pod) => pod,
            Err(error) => return Err(self.complaints.unanswered(Why::Pod, &error)),
        };
        pod.is(stream).then_some(pod).ok_or(Why::Pod)
    }

    /// Its node as it is now.
    async fn node(&self, name: &str) -> Result<Node, Why> {
        let question = place::ask_for_node(name).ok_or(Why::Node)?;
        let node: Node = match self.cluster.read(&question).await {
            Ok(node) => node,
            Err(error) => return Err(self.complaints.unanswered(Why::Node, &error)),
        };
        (node.name() == name).then_some(node).ok_or(Why::Node)
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

/// What can be said of a request without asking anybody.
struct Wanted {
    options: Options,
    protocols: Protocols,
}

fn wanted(asked: &Question<'_>) -> Result<Wanted, Why> {
    let subresource = asked.stream.subresource;
    let headers = &asked.head.headers;
    let impersonates = |name: &str| Identity::of(name) == Some(Identity::Impersonate);
    if headers.iter().any(|(name, _)| impersonates(name.as_str())) {
        return Err(Why::Impersonation);
    }
    match asked.head.method {
        Method::GET => {}
        Method::POST if subresource.upgrades() => {}
        _ => return Err(Why::Method),
    }
    if asked.upgrade.is_some() != subresource.upgrades() {
        return Err(Why::Upgrade);
    }
    if asked.has_body {
        return Err(Why::Body);
    }
    let options = api::options(subresource, asked.head.target.query());
    let options = options.map_err(|_| Why::Query)?;
    let protocols = match asked.upgrade {
        Some(WEBSOCKET) => api::protocols(subresource, headers),
        _ => Protocols::Runtime,
    };
    if protocols == Protocols::Unclear {
        return Err(Why::Protocol);
    }
    Ok(Wanted { options, protocols })
}

/// The upgrade of browsers, and of kubectl from 1.31 on.
const WEBSOCKET: &str = "websocket";

/// The container that the API server would choose, and whose log there is; none for ports.
fn chosen<'a>(
    subresource: Subresource,
    pod: &'a Pod,
    options: &Options,
) -> Result<Option<&'a str>, Why> {
    if subresource == Subresource::PortForward {
        return Ok(None);
    }
    let container = pod.container(options.container())?;
    if subresource == Subresource::Log && !pod.has_log(container, options.previous()) {
        return Err(Why::ContainerState);
    }
    Ok(Some(container))
}

#[cfg(test)]
mod tests;
