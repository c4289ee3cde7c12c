//! How long a certificate is valid (controller `certificates/authority/policies.go`, `signer.go`).

use time::{Duration, OffsetDateTime};

/// The shortest lifetime that a request gets, twice the backdating.
const FLOOR: Duration = Duration::minutes(10);
/// Clients whose clocks are behind ours accept a new certificate.
pub(super) const BACKDATE: Duration = Duration::minutes(5);
/// A certificate that lives shorter than this gets all of its time after now.
const SHORT: Duration = Duration::hours(8);

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When it begins.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// Computes the validity from what is asked for, the signer's longest lifetime and its CA's end;
/// `None` if the CA's time is over.
pub fn lifetime(
    expiration_seconds: Option<i32>,
    longest: Duration,
    authority_ends: OffsetDateTime,
    now: OffsetDateTime,
) -> Option<Lifetime> {
    if now >= authority_ends {
        return None;
    }
    let asked = expiration_seconds.map(|seconds| Duration::seconds(seconds.into()));
    let lifetime = match asked {
        Some(asked) if asked < longest => asked.max(FLOOR.min(longest)),
        Some(_) | None => longest,
    };
    let end = if lifetime < SHORT {
        now.saturating_add(lifetime)
    } else {
        now.saturating_add(lifetime - BACKDATE)
    };
    Some(Lifetime {
        not_before: now.saturating_sub(BACKDATE),
        not_after: end.min(authority_ends),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::NOW;

    #[test]
    fn lifetime_follows_the_signers_rules() {
        let year = Duration::days(365);
        let far = NOW + Duration::days(3650);
        for (asked, longest, authority_ends, expected) in [
            (None, year, far, year - BACKDATE),
            (Some(86_400), year, far, Duration::days(1) - BACKDATE),
            (Some(28_800), year, far, Duration::hours(8) - BACKDATE),
            (Some(28_799), year, far, Duration::seconds(28_799)),
            (Some(600), year, far, FLOOR),
            (Some(1), year, far, FLOOR),
            (Some(i32::MIN), year, far, FLOOR),
            (Some(i32::MAX), year, far, year - BACKDATE),
            (Some(7200), Duration::hours(1), far, Duration::hours(1)),
            (None, year, NOW + Duration::hours(2), Duration::hours(2)),
            (
                Some(600),
                year,
                NOW + Duration::seconds(1),
                Duration::seconds(1),
            ),
        ] {
            let got = lifetime(asked, longest, authority_ends, NOW).unwrap();
            assert_eq!(got.not_before, NOW - BACKDATE, "{asked:?}");
            assert_eq!(got.not_after - NOW, expected, "{asked:?} {longest}");
        }
    }

    #[test]
    fn lifetime_of_an_expired_authority_is_none() {
        assert_eq!(lifetime(None, Duration::days(1), NOW, NOW), None);
    }
}
