//! Judges certificates for break-glass: whose they are, and whether they are good for it.
//!
//! Such a certificate is of a CA of its own, says of itself what it is for, and is short-lived.

use eyesplice_identity::certificate::{CertificateFacts, Weakness, instant};
use eyesplice_identity::pki::{BACKDATE, BREAK_GLASS_GROUP, BREAK_GLASS_LIFETIME};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Who has such a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::front) struct Holder {
    /// The user: the common name. Its groups are those of its last review.
    pub(super) user: Arc<str>,
    /// The certificate's serial number.
    pub(super) serial: Arc<str>,
    /// When it ends.
    pub(super) until: SystemTime,
}

/// Why a certificate of that CA is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::front) enum NoHolder {
    #[error("{0} {1}; issue another")]
    Weak(String, Weakness),
    #[error("{0} has no common name, which is the user; issue another")]
    Nobody(String),
    #[error(
        "{0} is not for break-glass: its organization is not {BREAK_GLASS_GROUP}; issue one with \
         `eyesplice pki issue DIR --break-glass NAME`"
    )]
    Unmarked(String),
    #[error("{0} is valid for more than a day; issue one for a day at most")]
    TooLong(String),
    #[error("{0} expired {1}; issue another")]
    Expired(String, String),
    #[error("{0} is valid from {1}; check the clocks")]
    NotYet(String, String),
}

/// Says whose a chain is; `None`: it is not of this CA, so it is none of this module's business.
pub(super) fn holder(
    clients: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
) -> Option<Result<Holder, NoHolder>> {
    let (leaf, intermediates) = chain.split_first()?;
    let facts = CertificateFacts::read(leaf).ok()?;
    let (from, until) = (facts.not_before.into(), facts.not_after.into());
    // One that has expired is still of this CA, and is told so.
    let then = now.min(until).max(from);
    let then = then.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let then = UnixTime::since_unix_epoch(then);
    clients.verify_client_cert(leaf, intermediates, then).ok()?;
    Some(judge(&facts, (from, until), now))
}

fn judge(
    facts: &CertificateFacts,
    (from, until): (SystemTime, SystemTime),
    now: SystemTime,
) -> Result<Holder, NoHolder> {
    let subject = &facts.subject;
    let who = || subject.to_string();
    if let Some(weakness) = facts.weakness().cloned() {
        return Err(NoHolder::Weak(who(), weakness));
    }
    let user = subject.common_name.as_deref();
    let Some(user) = user.filter(|name| !name.is_empty()) else {
        return Err(NoHolder::Nobody(who()));
    };
    if !subject
        .organizations
        .iter()
        .any(|it| it == BREAK_GLASS_GROUP)
    {
        return Err(NoHolder::Unmarked(who()));
    }
    let longest = span(*BREAK_GLASS_LIFETIME.end()) + span(BACKDATE);
    if until.duration_since(from).is_ok_and(|life| life > longest) {
        return Err(NoHolder::TooLong(who()));
    }
    if now > until {
        return Err(NoHolder::Expired(who(), instant(facts.not_after)));
    }
    if now < from {
        return Err(NoHolder::NotYet(who(), instant(facts.not_before)));
    }
    Ok(Holder {
        user: user.into(),
        serial: facts.serial.as_str().into(),
        until,
    })
}

fn span(span: time::Duration) -> Duration {
    span.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::pki::testing::{Recipe, authority, client, now};
    use eyesplice_identity::verify::client_verifier;
    use time::Duration as Span;

    fn jane() -> Recipe {
        let recipe = client("jane").valid(-Span::HOUR, Span::hours(8));
        Recipe {
            organizations: vec![BREAK_GLASS_GROUP],
            ..recipe
        }
    }

    fn judged(recipe: Recipe) -> Option<Result<Holder, NoHolder>> {
        let ca = authority("break-glass").self_signed();
        let clients = client_verifier(ca.roots(), &[]).unwrap();
        let made = recipe.signed_by(&ca);
        holder(&*clients, &[made.der()], now())
    }

    #[test]
    fn holder_is_the_common_name_of_a_short_lived_certificate_of_the_ca() {
        let found = judged(jane()).unwrap().unwrap();
        assert_eq!(&*found.user, "jane");
        assert_eq!(found.until, now() + Duration::from_secs(8 * 3600));
        let day = jane().valid(-Span::minutes(5), Span::DAY);
        assert!(judged(day).unwrap().is_ok());
    }

    #[test]
    fn certificate_that_is_not_good_for_break_glass_says_why() {
        let unmarked = Recipe {
            organizations: vec!["system:masters"],
            ..jane()
        };
        let nobody = Recipe {
            common_name: String::new(),
            ..jane()
        };
        for (recipe, words) in [
            (unmarked, "O=system:masters is not for break-glass"),
            (nobody, "has no common name"),
            (
                jane().valid(-Span::minutes(6), Span::DAY),
                "is valid for more than a day",
            ),
            (
                jane().valid(-Span::hours(9), -Span::HOUR),
                "expired 2026-11-22T07:00:00Z",
            ),
            (
                jane().valid(Span::HOUR, Span::hours(2)),
                "is valid from 2026-11-22T09:00:00Z",
            ),
        ] {
            let told = judged(recipe).unwrap().unwrap_err().to_string();
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn certificate_of_another_ca_or_for_servers_is_nobodys() {
        let ca = authority("break-glass").self_signed();
        let clients = client_verifier(ca.roots(), &[]).unwrap();
        let other = authority("break-glass").self_signed();
        let server = Recipe {
            extended: eyesplice_identity::pki::testing::kubelet().extended,
            ..jane()
        };
        for made in [jane().signed_by(&other), server.signed_by(&ca)] {
            assert_eq!(holder(&*clients, &[made.der()], now()), None);
        }
        assert_eq!(holder(&*clients, &[], now()), None);
    }
}
