//! What a service-account token says.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// Claims of a bound token. Those that Kubernetes does not write are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom the token is.
    #[serde(default, skip_serializing_if = "Audiences::is_empty")]
    pub aud: Audiences,
    /// Not accepted from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<NumericDate>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<NumericDate>,
    /// Who made it.
    pub iss: String,
    /// A UUID; the API server's audit log calls it credential-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesClaims>,
    /// Not accepted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<NumericDate>,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// The private claims of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// Namespace of the account.
    pub namespace: String,
    /// The node on which the pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    /// The pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    /// The Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    /// The account.
    pub serviceaccount: ObjectRef,
    /// From then on a client should have fetched another token; it is accepted until `exp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<NumericDate>,
}

/// An object by name and UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name.
    pub name: String,
    /// Its UID: a namesake made later is another object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token is bound to beyond its account: it dies with the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundObject {
    /// A pod, and the node on which it runs where that is known.
    Pod {
        /// The pod.
        pod: ObjectRef,
        /// Its node.
        node: Option<ObjectRef>,
    },
    /// A Secret.
    Secret(ObjectRef),
    /// A node.
    Node(ObjectRef),
}

/// One audience or several: RFC 7519, section 4.1.3, has both forms. Kubernetes writes a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Audiences(pub Vec<String>);

impl Audiences {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }))
    }
}

/// Seconds since 1970 (RFC 7519, section 2). A fraction is read and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct NumericDate(pub i64);

/// The last second of the year 9999, beyond which no calendar writes a date.
const LAST_SECOND: i64 = 253_402_300_799;

impl NumericDate {
    /// The whole second of an instant; instants before 1970 count as 1970.
    pub fn of(at: SystemTime) -> Self {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self(
            i64::try_from(seconds)
                .unwrap_or(LAST_SECOND)
                .min(LAST_SECOND),
        )
    }

    /// The instant, `seconds` later.
    pub fn plus(self, seconds: Duration) -> Self {
        let seconds = i64::try_from(seconds.as_secs()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(seconds).min(LAST_SECOND))
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_i64().or_else(|| {
            let fraction = number.as_f64()?;
            // The range is checked below; a cast saturates.
            (fraction.is_finite() && number.is_f64()).then_some(fraction as i64)
        });
        match whole {
            Some(seconds) if (0..=LAST_SECOND).contains(&seconds) => Ok(Self(seconds)),
            _ => Err(D::Error::custom("not a number of seconds since 1970")),
        }
    }
}

/// Writes it as `2026-11-22T08:00:00Z`.
impl fmt::Display for NumericDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0) {
            Ok(at) => f.write_str(&crate::certificate::instant(at)),
            Err(_) => write!(f, "second {}", self.0),
        }
    }
}
