//! Says when a CSR is thrown away (controller `certificates/cleaner/cleaner.go`).

use super::limits;
use super::object::{APPROVED, CertificateSigningRequest, DENIED, FAILED};
use eyesplice_identity::certificate::CertificateFacts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

/// After a decision: its requester polls for the certificate within minutes.
const DECIDED: Duration = Duration::hours(1);
/// Without a decision.
const PENDING: Duration = Duration::hours(24);

/// Why a CSR is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Issued,
    CertificateExpired,
    ApprovedNotSigned,
    Denied,
    Failed,
    Pending,
    /// Nobody has heard of its node or gateway.
    Stranger,
}

impl Due {
    /// The word of logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::CertificateExpired => "certificate-expired",
            Self::ApprovedNotSigned => "approved-not-signed",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Stranger => "unknown",
        }
    }
}

/// Says whether a CSR is over at `now`, and why.
pub(crate) fn due(object: &CertificateSigningRequest, now: OffsetDateTime) -> Option<Due> {
    let past = |kind: &str| {
        let condition = object.condition(kind)?;
        let since = condition
            .last_update_time
            .or(object.metadata.creation_timestamp)?;
        (now - since.time() > DECIDED).then_some(())
    };
    if object.has(DENIED) {
        return past(DENIED).map(|()| Due::Denied);
    }
    if object.has(FAILED) {
        return past(FAILED).map(|()| Due::Failed);
    }
    if object.has(APPROVED) {
        let issued = !object.status.certificate.is_empty();
        if issued && certificate_expired(object, now) {
            return Some(Due::CertificateExpired);
        }
        let due = if issued {
            Due::Issued
        } else {
            Due::ApprovedNotSigned
        };
        return past(APPROVED).map(|()| due);
    }
    let created = object.metadata.creation_timestamp?;
    (now - created.time() > PENDING).then_some(Due::Pending)
}

/// The same of a CSR that waits for a node or gateway that nobody knows.
pub(crate) fn due_of_stranger(
    object: &CertificateSigningRequest,
    now: OffsetDateTime,
) -> Option<Due> {
    let created = object.metadata.creation_timestamp?;
    (now - created.time() > limits::STRANGER).then_some(Due::Stranger)
}

fn certificate_expired(object: &CertificateSigningRequest, now: OffsetDateTime) -> bool {
    let first = CertificateDer::pem_slice_iter(&object.status.certificate.0).next();
    let facts = first.and_then(|der| CertificateFacts::read(&der.ok()?).ok());
    facts.is_some_and(|facts| facts.not_after < now)
}

#[cfg(test)]
mod tests {
    use super::super::object::{Blob, Condition, Timestamp};
    use super::*;
    use eyesplice_identity::pki::testing::NOW;

    fn aged(kinds: &[&str], age: Duration) -> CertificateSigningRequest {
        let mut object = CertificateSigningRequest::default();
        let at = Timestamp::new(NOW - age);
        object.metadata.creation_timestamp = Some(at);
        for kind in kinds {
            let condition = Condition::new(kind, "", String::new(), at);
            object.status.conditions.push(condition);
        }
        object
    }

    #[test]
    fn due_follows_the_state_and_its_age() {
        let minute = Duration::minutes(1);
        for (kinds, limit, expected) in [
            (&[][..], PENDING, Due::Pending),
            (&[APPROVED], DECIDED, Due::ApprovedNotSigned),
            (&[DENIED], DECIDED, Due::Denied),
            (&[APPROVED, FAILED], DECIDED, Due::Failed),
            (&["Other"], PENDING, Due::Pending),
        ] {
            assert_eq!(due(&aged(kinds, limit - minute), NOW), None, "{kinds:?}");
            assert_eq!(
                due(&aged(kinds, limit + minute), NOW),
                Some(expected),
                "{kinds:?}"
            );
        }
        let mut issued = aged(&[APPROVED], DECIDED + minute);
        issued.status.certificate = Blob(b"x".to_vec());
        assert_eq!(due(&issued, NOW), Some(Due::Issued));
    }

    #[test]
    fn due_of_a_stranger_is_soon() {
        let limit = Duration::try_from(limits::STRANGER).unwrap();
        assert!(limit < PENDING);
        let second = Duration::seconds(1);
        assert_eq!(due_of_stranger(&aged(&[], limit), NOW), None);
        let over = due_of_stranger(&aged(&[], limit + second), NOW);
        assert_eq!(over, Some(Due::Stranger));
    }

    #[test]
    fn due_of_an_expired_certificate_is_at_once() {
        let made = eyesplice_identity::pki::testing::client("system:node:a")
            .valid(-Duration::hours(2), -Duration::minutes(1))
            .self_signed();
        let mut object = aged(&[APPROVED], Duration::minutes(2));
        object.status.certificate = Blob(made.certificate.pem().into_bytes());
        assert_eq!(due(&object, NOW), Some(Due::CertificateExpired));
    }

    #[test]
    fn due_is_everything_after_the_clock_jumped_forward_by_a_year() {
        let later = NOW + Duration::days(365);
        for (kinds, expected) in [
            (&[][..], Due::Pending),
            (&[APPROVED], Due::ApprovedNotSigned),
            (&[DENIED], Due::Denied),
            (&[FAILED], Due::Failed),
        ] {
            let new = aged(kinds, Duration::ZERO);
            assert_eq!(due(&new, NOW), None, "{kinds:?}");
            assert_eq!(due(&new, later), Some(expected), "{kinds:?}");
        }
    }

    #[test]
    fn due_before_its_time_because_the_clock_jumped_back_is_never() {
        assert_eq!(due(&aged(&[], -Duration::days(400)), NOW), None);
    }
}
