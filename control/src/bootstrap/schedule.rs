//! When a certificate is renewed.

use crate::identity::CertificateFacts;
use time::OffsetDateTime;

/// Renewal begins at this part of a certificate's life, and is over by the next.
const FROM: f64 = 0.7;
const SPREAD: f64 = 0.2;

/// What is to be done about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until then.
    Wait(OffsetDateTime),
    /// Ask for the next one with this one.
    Renew,
    /// Its time is over, or has not come: only a token helps.
    Expired,
}

/// Judges a certificate at `now`; `draw`, from 0 to 1, is the jitter.
pub(super) fn next(facts: &CertificateFacts, draw: f64, now: OffsetDateTime) -> Next {
    if now >= facts.not_after || now < facts.not_before {
        return Next::Expired;
    }
    let life = facts.not_after - facts.not_before;
    let at = facts.not_before + life * (FROM + SPREAD * draw.clamp(0.0, 1.0));
    if now < at {
        Next::Wait(at)
    } else {
        Next::Renew
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{NOW, client};
    use time::Duration;

    #[test]
    fn next_renews_between_70_and_90_percent() {
        let made = client("x")
            .valid(Duration::ZERO, Duration::hours(100))
            .self_signed();
        let facts = CertificateFacts::read(&made.der()).unwrap();
        for (draw, hour, expected) in [
            (0.0, 69, Next::Wait(NOW + Duration::hours(70))),
            (0.0, 70, Next::Renew),
            (1.0, 89, Next::Wait(NOW + Duration::hours(90))),
            (1.0, 91, Next::Renew),
            (9.0, 91, Next::Renew),
            (0.5, 99, Next::Renew),
            (0.5, 100, Next::Expired),
            (0.5, -1, Next::Expired),
        ] {
            let now = NOW + Duration::hours(hour);
            assert_eq!(next(&facts, draw, now), expected, "{draw} {hour}");
        }
    }
}
