//! The short way: a stream of a pod goes straight to its kubelet, where everything that the API
//! server would judge can be judged exactly as it would.
//!
//! Each condition that does not hold, or is not known to, sends the request through the API server,
//! which words its own refusals: [`Why`] lists them. Nothing is refused here.

mod admission;
mod caller;
mod complaints;
mod head;
mod lead;
mod memory;
mod place;
mod recheck;
mod wanted;
mod why;

pub(crate) use lead::Right;
pub(crate) use memory::{Memory, PLACES, REVIEWS, Review};
pub(crate) use place::Place;
pub(crate) use wanted::Wanted;
pub(crate) use why::Why;

use crate::config::{AddressType, Admission, ShortWay};
use admission::Admissions;
use caller::Caller;
use complaints::Complaints;
use eyesplice_dataplane::seam::{Fresh, UpstreamTls, Way};
use eyesplice_identity::access::{Access, AccessReviews, Cluster, ClusterSettings, TokenReviews};
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::{PodStream, Subresource};
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::headers::{HeaderName, HeaderValue};
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
    /// What is remembered for when no API server can be asked, if anything is.
    remembers: Option<Remembers>,
}

/// What of the streams is remembered, and where.
#[derive(derive_more::Debug)]
pub(crate) struct Remembers {
    pub(crate) memory: Arc<Memory>,
    /// Whether it is worth it.
    #[debug(skip)]
    pub(crate) worth: Worth,
}

/// Whether a stream of a user is worth remembering.
pub(crate) type Worth = Box<dyn Fn(&UserInfo, &PodStream) -> bool + Send + Sync>;

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
    /// The serial number of the certificate, where no API server could be asked.
    pub(crate) break_glass: Option<Arc<str>>,
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
            remembers: None,
        }
    }

    /// The same, remembering what held.
    pub(crate) fn remembering(self, remembers: Option<Remembers>) -> Self {
        Self { remembers, ..self }
    }

    /// Where a stream is remembered; `None`: it is not.
    fn memory_of(&self, stream: &PodStream, user: &UserInfo) -> Option<&Memory> {
        let remembers = self.remembers.as_ref()?;
        (remembers.worth)(user, stream).then_some(&*remembers.memory)
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
        let wanted = Wanted::read(asked)?;
        let credential = caller::credential(asked)?;
        // What follows waits for others, so it is not for the worker's thread, which polls once.
        tokio::task::yield_now().await;
        let caller = self.caller(credential, asked.now).await?;
        *user = Some(caller.user.username.as_str().into());
        let (allowed, admitted, reads) = tokio::join!(
            self.authorise(asked.stream, wanted.verbs(), &caller.user),
            self.admit(asked.stream.subresource),
            self.reads(asked.stream, &caller.user)
        );
        if let Some(Remembers { memory, .. }) = &self.remembers {
            if allowed.as_ref().is_err_and(|why| *why == Why::Denied) {
                memory.forget_user(&caller.user.username, asked.stream);
            }
            if admitted == Err(Why::Admission) {
                memory.forget_kind(asked.stream.subresource);
            }
        }
        let allowed = allowed?;
        admitted?;
        let pod = self.pod(asked.stream).await?;
        wanted.container(asked.stream, &pod)?;
        let node = self.node(pod.node()?).await?;
        let place = Place::new(pod, node);
        let led = self.lead(kubelets, asked, &wanted, &place).await;
        // Where an API server has to translate, all else held: kubectl asks in another way if there
        // is none.
        let memory = self.memory_of(asked.stream, &caller.user);
        if let (Some(memory), Ok(_) | Err(Why::Translation)) = (memory, &led) {
            let review = Review {
                user: Arc::clone(&caller.user),
                reason: Arc::clone(&allowed),
                reads,
                at: asked.now,
            };
            memory.saw(&review, (asked.stream, wanted.verbs()), &place);
        }
        let led = led?;
        Ok(led.by(Right {
            user: caller.user,
            allowed,
            until: caller.until.filter(|_| self.end_with_credential),
            break_glass: None,
        }))
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

    /// Asks whether a user may have a stream, as the API server would, by all of these verbs. Says
    /// why, by the first.
    async fn authorise(
        &self,
        stream: &PodStream,
        verbs: &[&'static str],
        user: &UserInfo,
    ) -> Result<Arc<str>, Why> {
        let mut allowed = None;
        for verb in verbs {
            let access = Access {
                verb,
                namespace: &stream.namespace,
                pod: &stream.pod,
                subresource: stream.subresource.as_str(),
            };
            match self.access.allows(user, access).await {
                Ok(Some(reason)) => allowed = allowed.or(Some(reason)),
                Ok(None) => return Err(Why::Denied),
                Err(error) => return Err(self.complaints.unanswered(Why::Access, &error)),
            }
        }
        allowed.ok_or(Why::Denied)
    }

    /// Says whether a user may get the pod itself, if that is remembered: what nobody says is no.
    async fn reads(&self, stream: &PodStream, user: &UserInfo) -> bool {
        if self.memory_of(stream, user).is_none() {
            return false;
        }
        let allowed = self.access.allows(user, the_pod(stream)).await;
        allowed.is_ok_and(|reason| reason.is_some())
    }

    /// Makes sure that no admission is due, which only an API server can do. Logs have none.
    async fn admit(&self, subresource: Subresource) -> Result<(), Why> {
        if !subresource.upgrades() {
            return Ok(());
        }
        if self.admission == Admission::Pass {
            return Err(Why::AdmissionStatic);
        }
        match self.admissions.may_match(subresource).await {
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
}

/// What kubectl does before it opens a stream.
fn the_pod(stream: &PodStream) -> Access<'_> {
    Access {
        verb: "get",
        namespace: &stream.namespace,
        pod: &stream.pod,
        subresource: "",
    }
}

#[cfg(test)]
mod tests;
