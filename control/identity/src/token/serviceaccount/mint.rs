//! Makes bound tokens.

use super::claims::{Audiences, BoundObject, Claims, KubernetesClaims, NumericDate, ObjectRef};
use crate::joined::Joined;
use crate::random;
use crate::token::jwt::{SignError, SigningKey};
use crate::token::{BearerToken, MAX_TOKEN};
use std::time::{Duration, SystemTime};

/// Shortest life that the API server grants (`validation.ValidateTokenRequest`).
pub const MIN_LIFETIME: Duration = Duration::from_secs(600);
/// Longest life that the API server grants.
pub const MAX_LIFETIME: Duration = Duration::from_secs(1 << 32);

/// Longest name of a namespace: a DNS label (RFC 1123).
const MAX_NAMESPACE: usize = 63;
/// Longest name of other objects: a DNS name.
const MAX_NAME: usize = 253;
/// A UUID has 36; other strings are UIDs, too.
const MAX_UID: usize = 128;
/// Audiences of one token, and bytes of one.
const MAX_AUDIENCES: usize = 32;
const MAX_AUDIENCE: usize = 512;

const _: () = assert!(MAX_AUDIENCES * MAX_AUDIENCE * 4 / 3 < MAX_TOKEN);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct MintRequest {
    /// Namespace of the account.
    pub namespace: String,
    /// Name and UID of the account; without its UID the API server refuses the token.
    pub account: ObjectRef,
    /// For whom it shall be.
    pub audiences: Vec<String>,
    /// How long it shall live.
    pub lifetime: Duration,
    /// What it shall die with.
    pub bound: Option<BoundObject>,
}

/// A new token.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: BearerToken,
    /// What it says.
    pub claims: Claims,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The request is wrong.
    #[error("cannot mint a token: {}", Joined(.0))]
    Request(Vec<RequestProblem>),
    /// The signature failed.
    #[error("cannot mint a token")]
    Sign(#[from] SignError),
    /// The system gave no random bytes.
    #[error("cannot mint a token: the system's random source failed")]
    Random,
    /// What came out is no token that a header can carry.
    #[error(
        "cannot mint a token: it would be longer than {MAX_TOKEN} bytes; shorten its audiences"
    )]
    TooLong,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestProblem {
    /// A name that no object has.
    #[error(
        "{field} {value:?} is not a name of Kubernetes; use lower-case letters, digits, '-' \
             and '.', at most {limit}"
    )]
    Name {
        /// Which.
        field: &'static str,
        /// What was given.
        value: String,
        /// Most bytes.
        limit: usize,
    },
    /// A UID that is none.
    #[error("{0} is missing or no UID; read it with `kubectl get -o jsonpath={{.metadata.uid}}`")]
    Uid(&'static str),
    /// A life that the API server would not grant.
    #[error("the lifetime of {0} s is out of range; use 600 to 4294967296 s")]
    Lifetime(u64),
    /// Nobody to be for.
    #[error("there is no audience; name the API server's issuer or its --api-audiences")]
    NoAudience,
    /// An audience that is none.
    #[error("audience {0} is empty or has more than {MAX_AUDIENCE} bytes")]
    Audience(usize),
    /// Too many to be for.
    #[error("there are more than {MAX_AUDIENCES} audiences")]
    Audiences,
    /// An issuer that no API server has.
    #[error("the issuer is empty; use the first --service-account-issuer of the API server")]
    Issuer,
}

/// Makes a token.
///
/// # Errors
/// Everything that is wrong with the request; a key or random source that failed.
pub fn mint(
    key: &SigningKey,
    issuer: &str,
    request: &MintRequest,
    now: SystemTime,
) -> Result<Minted, MintError> {
    let problems = problems(issuer, request);
    if !problems.is_empty() {
        return Err(MintError::Request(problems));
    }
    let issued = NumericDate::of(now);
    let (mut node, mut pod, mut secret) = (None, None, None);
    match &request.bound {
        None => {}
        Some(BoundObject::Pod {
            pod: bound,
            node: on,
        }) => {
            pod = Some(bound.clone());
            node.clone_from(on);
        }
        Some(BoundObject::Secret(bound)) => secret = Some(bound.clone()),
        Some(BoundObject::Node(bound)) => node = Some(bound.clone()),
    }
    let (namespace, name) = (&request.namespace, &request.account.name);
    let claims = Claims {
        aud: Audiences(request.audiences.clone()),
        exp: Some(issued.plus(request.lifetime)),
        iat: Some(issued),
        iss: issuer.to_owned(),
        jti: Some(random::uuid().map_err(|_| MintError::Random)?),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        nbf: Some(issued),
        kubernetes: Some(KubernetesClaims {
            namespace: namespace.clone(),
            node,
            pod,
            secret,
            serviceaccount: request.account.clone(),
            warnafter: None,
        }),
    };
    let signed = key.sign(&claims)?;
    let token = BearerToken::new(&signed).map_err(|_| MintError::TooLong)?;
    Ok(Minted { token, claims })
}

fn problems(issuer: &str, request: &MintRequest) -> Vec<RequestProblem> {
    let mut problems = Vec::new();
    if issuer.is_empty() {
        problems.push(RequestProblem::Issuer);
    }
    let mut name = |field, value: &str, limit| {
        if !is_name(value, limit) {
            let value = crate::certificate::printable(value, limit);
            problems.push(RequestProblem::Name {
                field,
                value,
                limit,
            });
        }
    };
    name("the namespace", &request.namespace, MAX_NAMESPACE);
    name("the account's name", &request.account.name, MAX_NAME);
    let bound: &[(&'static str, &'static str, &ObjectRef)] = match &request.bound {
        None => &[],
        Some(BoundObject::Pod { pod, node: None }) => &[("the pod's name", "the pod's UID", pod)],
        Some(BoundObject::Pod {
            pod,
            node: Some(node),
        }) => &[
            ("the pod's name", "the pod's UID", pod),
            ("the node's name", "the node's UID", node),
        ],
        Some(BoundObject::Secret(secret)) => &[("the Secret's name", "the Secret's UID", secret)],
        Some(BoundObject::Node(node)) => &[("the node's name", "the node's UID", node)],
    };
    for (field, _, object) in bound {
        name(field, &object.name, MAX_NAME);
    }
    let account = [("", "the account's UID", &request.account)];
    for (_, field, object) in account.iter().chain(bound) {
        let uid = &object.uid;
        if uid.is_empty() || uid.len() > MAX_UID || !uid.bytes().all(|b| b.is_ascii_graphic()) {
            problems.push(RequestProblem::Uid(field));
        }
    }
    if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&request.lifetime) {
        problems.push(RequestProblem::Lifetime(request.lifetime.as_secs()));
    }
    if request.audiences.is_empty() {
        problems.push(RequestProblem::NoAudience);
    }
    if request.audiences.len() > MAX_AUDIENCES {
        problems.push(RequestProblem::Audiences);
    }
    for (index, audience) in request.audiences.iter().enumerate() {
        if audience.is_empty() || audience.len() > MAX_AUDIENCE {
            problems.push(RequestProblem::Audience(index + 1));
        }
    }
    problems
}

/// Says whether `value` is a DNS name in lower case, with labels of any length (Kubernetes'
/// `IsDNS1123Subdomain`).
fn is_name(value: &str, limit: usize) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    value.len() <= limit && value.split('.').all(label)
}
