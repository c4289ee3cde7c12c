//! What is known of a bootstrap token, as the data of its Secret.

use super::bound::{self, Bound};
use super::format::{BootstrapToken, TokenId, TokenSecret};
use crate::certificate::{instant, printable};
use crate::user::UserInfo;
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use zeroize::Zeroizing;

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of every bootstrap token.
pub const DEFAULT_GROUP: &str = "system:bootstrappers";

const SECRET_PREFIX: &str = "bootstrap-token-";
/// What the name of every token's user begins with.
pub const USER_PREFIX: &str = "system:bootstrap:";
const GROUP_PREFIX: &str = "system:bootstrappers:";

/// Longest group, the prefix included (`BootstrapGroupPattern`).
const MAX_GROUP: usize = GROUP_PREFIX.len() + 256;
/// Groups of one token; kubeadm gives one.
const MAX_GROUPS: usize = 64;
/// Longest description: a line for people.
const MAX_DESCRIPTION: usize = 1024;

const ID: &str = "token-id";
const SECRET: &str = "token-secret";
const EXPIRATION: &str = "expiration";
const GROUPS: &str = "auth-extra-groups";
const DESCRIPTION: &str = "description";
const AUTHENTICATION: &str = "usage-bootstrap-authentication";
const SIGNING: &str = "usage-bootstrap-signing";

/// The name of a token's Secret.
pub fn secret_name(id: &TokenId) -> String {
    format!("{SECRET_PREFIX}{id}")
}

/// When a token ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It does not.
    Never,
    /// Then.
    At(OffsetDateTime),
    /// The Secret's text is no RFC 3339 time, which counts as expired.
    Unreadable(String),
}

impl Expiry {
    /// Says whether the time is over.
    pub fn is_over(&self, now: SystemTime) -> bool {
        match self {
            Self::Never => false,
            Self::At(end) => OffsetDateTime::from(now) >= *end,
            Self::Unreadable(_) => true,
        }
    }
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// As a bearer token.
    pub authentication: bool,
    /// To sign the ConfigMap cluster-info.
    pub signing: bool,
}

/// All that is known of a token.
#[derive(Clone, Debug)]
pub struct Record {
    /// The token.
    pub token: BootstrapToken,
    /// Its end.
    pub expiry: Expiry,
    /// Its usages.
    pub usages: Usages,
    /// Groups beyond [`DEFAULT_GROUP`].
    pub groups: Vec<String>,
    /// Whom it is for.
    pub bound: Bound,
    /// For people.
    pub description: String,
}

/// What is wrong with a Secret. No secret is quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// It is of another type.
    #[error("has type {0:?}, not {SECRET_TYPE}")]
    Type(String),
    /// A key is missing.
    #[error("lacks the key {0}")]
    Missing(&'static str),
    /// A value is not of its form.
    #[error("has a {0} that is no bootstrap token's; its form is [a-z0-9]{{6}} and [a-z0-9]{{16}}")]
    Form(&'static str),
    /// The Secret is named otherwise.
    #[error("is named {name:?}, but its token-id wants {wanted}")]
    Name {
        /// What it is.
        name: String,
        /// What it should be.
        wanted: String,
    },
    /// A value is no text.
    #[error("has a {0} that is not UTF-8")]
    Text(&'static str),
    /// A group that no bootstrap token may have.
    #[error(
        "has the group {0:?}, which no bootstrap token may have; use system:bootstrappers:NAME with \
         lower-case letters, digits, ':' and '-'"
    )]
    Group(String),
    /// Too many groups.
    #[error("has more than {MAX_GROUPS} groups")]
    Groups,
    /// A name that it is bound to and nobody can have.
    #[error("has {1:?} among its {0}, which is no name; use small letters, digits, '-' and '.'")]
    BoundName(&'static str, String),
    /// Too many names.
    #[error("has more than {1} names in {0}; make several tokens")]
    Names(&'static str, usize),
    /// Too long a description.
    #[error("has a description of more than {MAX_DESCRIPTION} bytes, or of several lines")]
    Description,
    /// It is good for nothing.
    #[error("has no usage; use authentication, signing or both")]
    NoUsage,
}

/// Why a token authenticates nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such token.
    #[error(
        "there is no bootstrap token {0}; it may have expired and been deleted; create another"
    )]
    Unknown(TokenId),
    /// The secret is another.
    #[error("bootstrap token {0} has another secret; copy it whole")]
    Secret(TokenId),
    /// Its time is over.
    #[error("bootstrap token {0} expired {1}; create another")]
    Expired(TokenId, String),
    /// Its expiration is no time.
    #[error(
        "bootstrap token {0} has an expiration that is no RFC 3339 time, so it counts as expired"
    )]
    UnreadableExpiry(TokenId),
    /// It is not for this.
    #[error("bootstrap token {0} is not for authentication; create one with that usage")]
    Usage(TokenId),
    /// Its Secret is broken.
    #[error("the Secret of bootstrap token {0} {1}")]
    Broken(TokenId, RecordProblem),
}

impl Record {
    /// Reads a Secret.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn from_secret(
        name: &str,
        secret_type: &str,
        data: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    ) -> Result<Self, RecordProblem> {
        if secret_type != SECRET_TYPE {
            return Err(RecordProblem::Type(printable(secret_type, 64)));
        }
        let text = |key: &'static str| match data.get(key) {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| RecordProblem::Text(key)),
        };
        let required = |key| text(key)?.ok_or(RecordProblem::Missing(key));
        let id: TokenId = required(ID)?.parse().map_err(|_| RecordProblem::Form(ID))?;
        let secret =
            TokenSecret::new(required(SECRET)?).map_err(|_| RecordProblem::Form(SECRET))?;
        let wanted = secret_name(&id);
        if name != wanted {
            let name = printable(name, 64);
            return Err(RecordProblem::Name { name, wanted });
        }
        let expiry = match text(EXPIRATION)? {
            None | Some("") => Expiry::Never,
            Some(text) => match read_time(text) {
                Some(end) => Expiry::At(end),
                None => Expiry::Unreadable(printable(text, 64)),
            },
        };
        let usage = |key| Ok(text(key)? == Some("true"));
        let usages = Usages {
            authentication: usage(AUTHENTICATION)?,
            signing: usage(SIGNING)?,
        };
        let groups = text(GROUPS)?.unwrap_or_default();
        let groups = groups.split(',').filter(|group| !group.is_empty());
        let groups: Vec<String> = groups.map(str::to_owned).collect();
        check_groups(&groups)?;
        let names = |key| Ok(text(key)?.unwrap_or_default());
        let bound = Bound::read(names(bound::NODES)?, names(bound::GATEWAYS)?)?;
        Ok(Self {
            token: BootstrapToken { id, secret },
            expiry,
            usages,
            groups,
            bound,
            description: text(DESCRIPTION)?.unwrap_or_default().to_owned(),
        })
    }

    /// Writes the data of its Secret. What is absent has no key.
    pub fn to_data(&self) -> Vec<(&'static str, Zeroizing<String>)> {
        let plain = |text: &str| Zeroizing::new(text.to_owned());
        let mut data = vec![
            (ID, plain(self.token.id.as_str())),
            (SECRET, plain(self.token.secret.expose())),
        ];
        match &self.expiry {
            Expiry::Never => {}
            Expiry::At(end) => data.push((EXPIRATION, plain(&instant(*end)))),
            Expiry::Unreadable(text) => data.push((EXPIRATION, plain(text))),
        }
        if self.usages.authentication {
            data.push((AUTHENTICATION, plain("true")));
        }
        if self.usages.signing {
            data.push((SIGNING, plain("true")));
        }
        if !self.groups.is_empty() {
            data.push((GROUPS, plain(&self.groups.join(","))));
        }
        for (key, names) in [
            (bound::NODES, &self.bound.nodes),
            (bound::GATEWAYS, &self.bound.gateways),
        ] {
            if !names.is_empty() {
                data.push((key, plain(&names.join(","))));
            }
        }
        if !self.description.is_empty() {
            data.push((DESCRIPTION, plain(&self.description)));
        }
        data
    }

    /// Says what is wrong with a record that is about to be written.
    ///
    /// # Errors
    /// The first thing.
    pub fn check(&self) -> Result<(), RecordProblem> {
        check_groups(&self.groups)?;
        self.bound.check()?;
        if self.usages == Usages::default() {
            return Err(RecordProblem::NoUsage);
        }
        let one_line = !self.description.contains(char::is_control);
        if self.description.len() > MAX_DESCRIPTION || !one_line {
            return Err(RecordProblem::Description);
        }
        Ok(())
    }

    /// Says whose a presented token is.
    ///
    /// The secret is compared first: who does not know it learns nothing of the rest.
    ///
    /// # Errors
    /// It is not this token, or this token authenticates nobody.
    pub fn authenticate(
        &self,
        presented: &BootstrapToken,
        now: SystemTime,
    ) -> Result<UserInfo, Refusal> {
        let id = &self.token.id;
        if presented.id != *id || !self.token.secret.matches(&presented.secret) {
            return Err(Refusal::Secret(presented.id.clone()));
        }
        self.usable(now)?;
        let mut groups = vec![DEFAULT_GROUP.to_owned()];
        groups.extend(self.groups.iter().cloned());
        Ok(UserInfo {
            username: format!("{USER_PREFIX}{id}"),
            groups,
            extra: self.bound.extra(),
            ..UserInfo::default()
        })
    }

    /// Says whether the token authenticates anybody now, whoever knows its secret.
    ///
    /// # Errors
    /// Its time is over, or it is for something else.
    pub fn usable(&self, now: SystemTime) -> Result<(), Refusal> {
        let id = &self.token.id;
        if self.expiry.is_over(now) {
            return Err(match &self.expiry {
                Expiry::At(end) => Refusal::Expired(id.clone(), instant(*end)),
                Expiry::Unreadable(_) | Expiry::Never => Refusal::UnreadableExpiry(id.clone()),
            });
        }
        if !self.usages.authentication {
            return Err(Refusal::Usage(id.clone()));
        }
        Ok(())
    }
}

/// Reads RFC 3339 of any offset, as UTC.
fn read_time(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    time.checked_to_offset(UtcOffset::UTC)
}

fn check_groups(groups: &[String]) -> Result<(), RecordProblem> {
    if groups.len() > MAX_GROUPS {
        return Err(RecordProblem::Groups);
    }
    match groups.iter().find(|group| !is_group(group)) {
        Some(group) => Err(RecordProblem::Group(printable(group, 64))),
        None => Ok(()),
    }
}

/// `^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`
fn is_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix(GROUP_PREFIX) else {
        return false;
    };
    let code = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    group.len() <= MAX_GROUP
        && name.bytes().all(|b| code(b) || b == b':' || b == b'-')
        && name.bytes().last().is_some_and(code)
}
