//! Weighs a first client certificate: whoever asks has nothing but a token, so the name that it asks for
//! must be free, and one that an operator expects.

use super::{Decision, Policy, deny};
use crate::held::{Held, key_of, unsigned_until};
use eyesplice_identity::certificate::instant;
use eyesplice_identity::token::bootstrap::Bound;
use eyesplice_identity::x509::CertificateRequest;
use std::time::Duration;
use time::OffsetDateTime;

/// What is known beside the CSR.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First<'a> {
    pub(crate) now: OffsetDateTime,
    /// Whom the requester's bootstrap token is for.
    pub(crate) bound: Option<&'a Bound>,
    /// Who has this name already.
    pub(crate) held: Option<&'a Held>,
    /// For how long after it was added to the inventory a node may ask.
    pub(crate) window: Option<Duration>,
    /// Which names nodes may have, where no inventory lists them; none for any.
    pub(crate) names: &'a [NamePattern],
}

impl First<'_> {
    /// Nothing is known but the time.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn unknown(now: OffsetDateTime) -> Self {
        Self {
            now,
            bound: None,
            held: None,
            window: None,
            names: &[],
        }
    }
}

/// A name of nodes with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub struct NamePattern(String);

impl NamePattern {
    /// Takes a pattern of letters, digits, `-`, `.` and `*`.
    ///
    /// # Errors
    /// It has other characters, or none.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.*".contains(&c);
        if text.is_empty() || !text.bytes().all(known) {
            return Err("has other characters than small letters, digits, '-', '.' and '*'");
        }
        Ok(Self(text.to_owned()))
    }

    /// Says whether a name is of this pattern.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, between)) = parts.split_last() else {
            return rest.is_empty();
        };
        // The earliest place for each leaves the most for those behind it.
        for part in between {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Node,
    Gateway,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Gateway => "gateway",
        }
    }

    fn bound(self, bound: &Bound) -> &[String] {
        match self {
            Self::Node => &bound.nodes,
            Self::Gateway => &bound.gateways,
        }
    }
}

/// What is to be said for the requester, or what is against it.
pub(super) fn weigh(
    kind: Kind,
    name: &str,
    request: &CertificateRequest,
    policy: &Policy<'_>,
) -> Result<String, Decision> {
    let First {
        now,
        bound,
        held,
        window,
        ..
    } = policy.first;
    let word = kind.word();
    let bound = bound.filter(|bound| !bound.is_free());
    let named = bound.map(|bound| kind.bound(bound));
    if let Some(names) = named
        && !names.iter().any(|each| each == name)
    {
        return Err(deny(foreign_token(word, name, names)));
    }
    let added = match kind {
        Kind::Node => policy.inventory.and_then(|inventory| inventory.added(name)),
        Kind::Gateway => None,
    };
    let held = held.filter(|held| held.not_after.time() > now);
    let word_for = match (held, named) {
        (None, None) => "asked for by a bootstrapper".to_owned(),
        (_, Some(_)) => "asked for by a token that is bound to it".to_owned(),
        // Whoever has the key has the certificate, too.
        (Some(held), None) if held.key == key_of(&request.spki) => {
            "asked for again by the key that has it".to_owned()
        }
        (Some(held), None) => match added {
            Some(added) if added > held.issued.time() => {
                format!(
                    "a machine that was added to the inventory at {}",
                    instant(added)
                )
            }
            _ => return Err(deny(taken(kind, name, held))),
        },
    };
    if let (Some(window), None, Kind::Node) = (window, named, kind) {
        within(name, added, window, now).map_err(deny)?;
    }
    Ok(word_for)
}

fn foreign_token(word: &str, name: &str, names: &[String]) -> String {
    let for_whom = if names.is_empty() {
        format!("for no {word}")
    } else {
        format!("bound to {word} {}", names.join(", "))
    };
    format!(
        "the bootstrap token is {for_whom}, and the request is for {word} {name}; use a token of that \
         {word}: eyesplice token bootstrap create --{word} {name}"
    )
}

fn taken(kind: Kind, name: &str, held: &Held) -> String {
    let word = kind.word();
    let until = match held.not_after.time() {
        // It is signed yet, or known by another thing than itself.
        end if end >= unsigned_until() => String::new(),
        end => format!(", valid until {}", instant(end)),
    };
    let again = match kind {
        Kind::Node => {
            format!(
                "set `added` of {word} {name} in the inventory to the time of now, or use a token that is \
                 bound to it (eyesplice token bootstrap create --{word} {name}); where Node objects are \
                 the inventory, delete the Node and the CSR"
            )
        }
        Kind::Gateway => {
            format!(
                "use a token that is bound to it (eyesplice token bootstrap create --{word} {name} \
                 --groups system:bootstrappers:eyesplice:gateways)"
            )
        }
    };
    format!(
        "{word} {name} holds a client certificate already{until} ({}); a {word} renews by \
         the one that it has; if it has lost it, {again}; it asks again by itself",
        held.seen
    )
}

/// A machine asks soon after somebody has announced it.
fn within(
    name: &str,
    added: Option<OffsetDateTime>,
    window: Duration,
    now: OffsetDateTime,
) -> Result<(), String> {
    let Some(added) = added else {
        return Err(format!(
            "the inventory does not say when node {name} was added, and approval.window is set; write \
             `added: {}` there if it is to join now",
            instant(now)
        ));
    };
    if now <= added + window {
        return Ok(());
    }
    Err(format!(
        "node {name} was added to the inventory at {}, and approval.window ({} s) is over; write \
         `added: {}` there if it is to join now",
        instant(added),
        window.as_secs(),
        instant(now)
    ))
}
