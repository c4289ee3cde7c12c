//! Says on which node the pod runs that a projected service-account token is bound to.
//!
//! The API server says whose the token is; the pod's node is in its answer from Kubernetes 1.30 on.
//! Before, the answer names the pod by name and UID, and the pod itself says where it runs. A pod
//! never moves.

use super::{Ask, AskError, Cluster, ReviewSetupError, TokenReviews};
use crate::inventory::check_node_name;
use crate::recent::Recent;
use crate::token::BearerToken;
use crate::token::jwt::Compact;
use crate::token::review::TokenReviewSettings;
use crate::token::serviceaccount::Audiences;
use crate::user::UserInfo;
use hyper::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// How long a good token is not asked about again: a pod asks for one certificate by some ten
/// requests in a row. The token of a pod that is gone is good for so long at most.
const LONGEST_TTL: Duration = Duration::from_secs(10);

/// Pods whose nodes are remembered: as many as Kubernetes is tested with nodes, and again as many.
const PODS: usize = 10_000;

/// Longest Pod object that is read: the API server takes requests of 3 MiB, etcd objects of 1.5.
const MAX_POD: usize = 3 << 20;

/// Whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTokens {
    /// The namespace of pods and service account.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// For whom the tokens must be.
    pub audience: String,
}

/// A pod that a token is bound to, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node.
    pub node: String,
}

/// Why a token proves no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodRefusal {
    /// Nobody's, or another audience's.
    #[error(
        "the API server does not accept the token for audience {0:?}; mount a projected \
         serviceAccountToken with that audience, and look whether its pod still exists"
    )]
    NotAccepted(String),
    /// Somebody else's.
    #[error("the token is of {got:?}, not of {wanted:?}")]
    Account {
        /// Who.
        got: String,
        /// Who may.
        wanted: String,
    },
    /// Of a Secret, or made by `kubectl create token`.
    #[error(
        "the token is bound to no pod; mount a projected serviceAccountToken in place of a \
         Secret or of `kubectl create token`"
    )]
    Unbound,
    /// The pod is not there, or is another one.
    #[error("pod {0} with UID {1} does not exist; its token is not good any more")]
    Gone(String, String),
    /// The pod has no node.
    #[error("pod {0} is on no node yet")]
    Nowhere(String),
    /// A name that no object can have.
    #[error("the answer about the token names {0:?}, which no object can be called")]
    Name(String),
}

/// Why it is not known on which node a pod runs.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The token proves it of none.
    #[error(transparent)]
    Refused(#[from] PodRefusal),
    /// The API server gave no answer about the token or its pod.
    #[error(transparent)]
    Asking(#[from] AskError),
    /// Pods may not be read.
    #[error(
        "reading pod {pod} is refused with status {status}; grant our user `get` on pods in the \
         namespace (control/dist/agent-daemonset.yaml has the Role)"
    )]
    Forbidden {
        /// The pod.
        pod: String,
        /// The status.
        status: StatusCode,
    },
}

/// Asks the API server about the tokens of pods.
#[derive(Debug)]
pub struct PodReviewer {
    cluster: Arc<Cluster>,
    reviews: TokenReviews,
    tokens: PodTokens,
    /// The nodes of pods, by UID.
    nodes: Recent<String, String>,
}

impl PodReviewer {
    /// Loads trust and identity of the review. Dials nothing.
    ///
    /// # Errors
    /// As [`Cluster::for_reviews`].
    pub fn new(review: &TokenReviewSettings, tokens: PodTokens) -> Result<Self, ReviewSetupError> {
        let cluster = Arc::new(Cluster::for_reviews(review)?);
        let ttl = review.authorized_ttl.min(LONGEST_TTL);
        let refused_ttl = review.unauthorized_ttl;
        Ok(Self {
            reviews: TokenReviews::lasting(Arc::clone(&cluster), ttl, refused_ttl),
            cluster,
            tokens,
            nodes: Recent::new(PODS),
        })
    }

    /// Says whether a token claims to be for our audience, and so is to be judged here and nowhere
    /// else. Nothing is verified.
    pub fn claims_to_be_ours(&self, token: &BearerToken) -> bool {
        let claims = Compact::parse(token.expose()).and_then(|token| token.unverified::<Claims>());
        claims.is_ok_and(|claims| claims.aud.0.contains(&self.tokens.audience))
    }

    /// Says which pod a token is bound to, and where it runs.
    ///
    /// # Errors
    /// It proves no node, or that could not be found out.
    pub async fn pod(&self, token: &BearerToken) -> Result<BoundPod, PodError> {
        let tokens = &self.tokens;
        let audience = std::slice::from_ref(&tokens.audience);
        let Some((user, _)) = self.reviews.review(token, audience).await? else {
            return Err(PodRefusal::NotAccepted(tokens.audience.clone()).into());
        };
        let wanted = format!(
            "system:serviceaccount:{}:{}",
            tokens.namespace, tokens.service_account
        );
        if user.username != wanted {
            let got = user.username.clone();
            return Err(PodRefusal::Account { got, wanted }.into());
        }
        let (Some(name), Some(uid)) = (one(&user, POD_NAME), one(&user, POD_UID)) else {
            return Err(PodRefusal::Unbound.into());
        };
        let node = match one(&user, NODE_NAME) {
            Some(node) => node.to_owned(),
            None => self.node_of(name, uid).await?,
        };
        checked(&node)?;
        Ok(BoundPod {
            name: name.to_owned(),
            uid: uid.to_owned(),
            node,
        })
    }

    /// Looks the pod up.
    async fn node_of(&self, name: &str, uid: &str) -> Result<String, PodError> {
        let uid_key = uid.to_owned();
        if let Some(node) = self.nodes.find(&uid_key, |_| true) {
            return Ok(node);
        }
        let PodTokens {
            namespace,
            service_account,
            ..
        } = &self.tokens;
        // Both become part of a path.
        checked(namespace)?;
        checked(name)?;
        let pod = format!("{namespace}/{name}");
        let question = Ask::get(
            format!("/api/v1/namespaces/{namespace}/pods/{name}"),
            MAX_POD,
        );
        let gone = || PodRefusal::Gone(pod.clone(), uid.to_owned());
        let object: Pod = match self.cluster.read(&question).await {
            Ok(object) => object,
            Err(AskError::Missing(_)) => return Err(gone().into()),
            Err(AskError::Refused(_, status, _)) => {
                return Err(PodError::Forbidden { pod, status });
            }
            Err(error) => return Err(error.into()),
        };
        if object.metadata.uid != uid || object.spec.service_account_name != *service_account {
            return Err(gone().into());
        }
        let Some(node) = object.spec.node_name.filter(|node| !node.is_empty()) else {
            return Err(PodRefusal::Nowhere(pod).into());
        };
        self.nodes.insert(uid_key, node.clone());
        Ok(node)
    }
}

/// What stands once under a key of a user's extra, and is not blank.
fn one<'a>(user: &'a UserInfo, key: &str) -> Option<&'a str> {
    match user.extra.get(key)?.as_slice() {
        [value] if !value.is_empty() => Some(value),
        _ => None,
    }
}

fn checked(name: &str) -> Result<(), PodRefusal> {
    check_node_name(name).map_err(|_| PodRefusal::Name(name.to_owned()))
}

/// The claims of a token that says nothing else yet.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Audiences,
}

#[derive(Deserialize)]
struct Pod {
    metadata: PodMetadata,
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodMetadata {
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    service_account_name: String,
    node_name: Option<String>,
}
