//! Verifies tokens by public keys.

use super::claims::{Claims, KubernetesClaims, NumericDate};
use crate::token::Cause;
use crate::token::jwt::{Compact, JwtError, PublicKey};
use crate::user::{CREDENTIAL_ID, UserInfo};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How far clocks may be apart: what the API server grants (go-jose's `DefaultLeeway`).
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);

/// The issuer of legacy tokens, which stand in Secrets and have no expiry.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// How many characters of a claim an error repeats.
const SHOWN: usize = 128;

/// Why a token is not accepted. None of them quotes the token; claims are quoted only once the
/// signature was verified, except for the issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Form or signature.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// It is of a Secret.
    #[error(
        "the token is a legacy token of a Secret, which never expires; only the API server knows \
         whether it is still valid; use a bound token (kubectl create token)"
    )]
    Legacy,
    /// Somebody else made it.
    #[error("the token is issued by {0:?}, not by {1}; check which cluster it is of")]
    Issuer(String, String),
    /// It has no end.
    #[error("the token has no expiry; use a bound token (kubectl create token)")]
    NoExpiry,
    /// Its time is over.
    #[error("the token expired {0}, {1} s ago; fetch a new one")]
    Expired(NumericDate, i64),
    /// Its time has not come.
    #[error(
        "the token's {claim} is {start}, {ahead} s ahead of this machine's clock; check the clocks \
         here and at the issuer"
    )]
    NotYetValid {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// Its beginning.
        start: NumericDate,
        /// Seconds until then.
        ahead: i64,
    },
    /// It is for others.
    #[error("the token is for {0}, not for {1}; request it for one of these")]
    Audience(String, String),
    /// It is of no service account.
    #[error("the token is signed by a trusted key, but names no service account")]
    NoAccount,
    /// It contradicts itself.
    #[error("the token's subject {0:?} is not the service account of its private claims")]
    Subject(String),
}

impl Refusal {
    /// Which part of the matter failed.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Jwt(
                JwtError::Signature
                | JwtError::UnknownKey(..)
                | JwtError::WrongAlgorithm { .. }
                | JwtError::Unsigned
                | JwtError::Algorithm(_),
            ) => Cause::Signature,
            Self::Expired(..) => Cause::Expiry,
            Self::NotYetValid { .. } => Cause::Clock,
            Self::Audience(..) => Cause::Audience,
            Self::Jwt(_)
            | Self::Legacy
            | Self::Issuer(..)
            | Self::NoExpiry
            | Self::NoAccount
            | Self::Subject(_) => Cause::Token,
        }
    }

    /// Says whether the token is authentic all the same, so that its holder may know why.
    pub fn is_authentic(&self) -> bool {
        match self {
            Self::Jwt(_) | Self::Legacy | Self::Issuer(..) => false,
            Self::NoExpiry
            | Self::Expired(..)
            | Self::NotYetValid { .. }
            | Self::Audience(..)
            | Self::NoAccount
            | Self::Subject(_) => true,
        }
    }
}

/// A token that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// The key that made it.
    pub kid: String,
    /// Which of the accepted audiences it is for.
    pub audiences: Vec<String>,
    /// Its user.
    pub user: UserInfo,
    /// The client should have fetched another one by now (`warnafter`).
    pub stale: bool,
}

/// Verifies the tokens of one cluster.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway: Duration,
}

#[derive(Deserialize)]
struct IssuerOnly {
    iss: String,
}

impl Verifier {
    /// Accepts tokens of these keys and issuers. Without audiences the issuers are the audiences, as
    /// in the API server.
    pub fn new(
        keys: Vec<PublicKey>,
        issuers: Vec<String>,
        audiences: Vec<String>,
        leeway: Duration,
    ) -> Self {
        let audiences = if audiences.is_empty() {
            issuers.clone()
        } else {
            audiences
        };
        Self {
            keys,
            issuers,
            audiences,
            leeway,
        }
    }

    /// The keys that are accepted.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Says whether a token claims to be of this cluster; nothing is verified. A token of another
    /// issuer is not refused but left to whoever knows it.
    pub fn claims_to_be_ours(&self, token: &str) -> bool {
        Compact::parse(token)
            .and_then(|compact| compact.unverified::<IssuerOnly>())
            .is_ok_and(|claims| self.issuers.contains(&claims.iss) || claims.iss == LEGACY_ISSUER)
    }

    /// Verifies a token. `wanted` are the audiences of which it must have one; empty: the
    /// configured ones.
    ///
    /// # Errors
    /// The first thing that is wrong with it, in the order form, issuer, signature, times, audience,
    /// account.
    pub fn verify(
        &self,
        token: &str,
        wanted: &[String],
        now: SystemTime,
    ) -> Result<Verified, Refusal> {
        let compact = Compact::parse(token)?;
        let issuer = compact.unverified::<IssuerOnly>()?.iss;
        if issuer == LEGACY_ISSUER {
            return Err(Refusal::Legacy);
        }
        if !self.issuers.contains(&issuer) {
            return Err(Refusal::Issuer(
                crate::certificate::printable(&issuer, SHOWN),
                self.issuers.join(", "),
            ));
        }
        let kid = compact.verify(&self.keys)?.kid().to_owned();
        let claims: Claims = compact.unverified()?;
        let now = NumericDate::of(now);
        self.check_times(&claims, now)?;
        let wanted = if wanted.is_empty() {
            &self.audiences
        } else {
            wanted
        };
        let audiences = matching(&claims.aud.0, wanted)?;
        let user = user_of(&claims)?;
        let warn_after = claims
            .kubernetes
            .as_ref()
            .and_then(|private| private.warnafter);
        Ok(Verified {
            kid,
            audiences,
            user,
            stale: warn_after.is_some_and(|at| now > at),
            claims,
        })
    }

    fn check_times(&self, claims: &Claims, now: NumericDate) -> Result<(), Refusal> {
        let leeway = i64::try_from(self.leeway.as_secs()).unwrap_or(i64::MAX);
        let expiry = claims.exp.ok_or(Refusal::NoExpiry)?;
        let ago = now.0.saturating_sub(expiry.0);
        if ago > leeway {
            return Err(Refusal::Expired(expiry, ago));
        }
        for (claim, start) in [("nbf", claims.nbf), ("iat", claims.iat)] {
            let Some(start) = start else { continue };
            let ahead = start.0.saturating_sub(now.0);
            if ahead > leeway {
                return Err(Refusal::NotYetValid {
                    claim,
                    start,
                    ahead,
                });
            }
        }
        Ok(())
    }
}

fn matching(has: &[String], wanted: &[String]) -> Result<Vec<String>, Refusal> {
    let both: Vec<String> = wanted
        .iter()
        .filter(|one| has.contains(one))
        .cloned()
        .collect();
    if !both.is_empty() {
        return Ok(both);
    }
    let mut audiences = match has {
        [] => "nobody".to_owned(),
        some => some.join(", "),
    };
    let audiences = crate::certificate::shorten(&mut audiences, SHOWN).to_owned();
    Err(Refusal::Audience(
        crate::certificate::printable(&audiences, SHOWN),
        wanted.join(", "),
    ))
}

/// The user of verified claims: name, groups and extra as the API server gives them.
fn user_of(claims: &Claims) -> Result<UserInfo, Refusal> {
    let private = claims.kubernetes.as_ref().ok_or(Refusal::NoAccount)?;
    let KubernetesClaims {
        namespace,
        serviceaccount,
        ..
    } = private;
    if namespace.is_empty() || serviceaccount.name.is_empty() {
        return Err(Refusal::NoAccount);
    }
    let username = format!("system:serviceaccount:{namespace}:{}", serviceaccount.name);
    if claims.sub != username {
        let subject = crate::certificate::printable(&claims.sub, SHOWN);
        return Err(Refusal::Subject(subject));
    }
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(key.to_owned(), vec![value.to_owned()]);
        }
    };
    if let Some(jti) = &claims.jti {
        add(CREDENTIAL_ID, &format!("JTI={jti}"));
    }
    if let Some(pod) = &private.pod {
        add("authentication.kubernetes.io/pod-name", &pod.name);
        add("authentication.kubernetes.io/pod-uid", &pod.uid);
    }
    if let Some(node) = &private.node {
        add("authentication.kubernetes.io/node-name", &node.name);
        add("authentication.kubernetes.io/node-uid", &node.uid);
    }
    Ok(UserInfo {
        username,
        uid: serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        extra,
    })
}
