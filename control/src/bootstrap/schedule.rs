//! When a certificate is renewed.

use eyesplice_identity::certificate::CertificateFacts;
use ring::digest::{SHA256, digest};
use time::OffsetDateTime;

/// Renewal begins at this part of a certificate's life, and is over by the next.
const FROM: f64 = 0.7;
const SPREAD: f64 = 0.2;

/// What is to be done about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until then.
    Wait(OffsetDateTime),
    /// Ask for the next one with this one.
    Renew,
    /// Its time is over: only a token helps.
    Expired,
    /// Its time has not come: this clock is behind, and no other certificate would do better.
    NotYet,
}

/// Judges a certificate at `now`.
pub(crate) fn next(facts: &CertificateFacts, now: OffsetDateTime) -> Next {
    if now >= facts.not_after {
        return Next::Expired;
    }
    if now < facts.not_before {
        return Next::NotYet;
    }
    let life = facts.not_after - facts.not_before;
    let at = facts.not_before + life * (FROM + SPREAD * jitter(facts));
    if now < at {
        Next::Wait(at)
    } else {
        Next::Renew
    }
}

/// A number from 0 to 1 that is each certificate's own. Were it drawn at each look, a certificate of a
/// year would be renewed within days of 70 %: each look would be another chance.
fn jitter(facts: &CertificateFacts) -> f64 {
    let hash = digest(&SHA256, &facts.spki);
    let first = hash.as_ref().iter().take(4);
    let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    f64::from(number) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::pki::testing::{NOW, client};
    use time::Duration;

    fn facts() -> CertificateFacts {
        let made = client("x").valid(Duration::ZERO, Duration::hours(100));
        CertificateFacts::read(&made.self_signed().der()).unwrap()
    }

    #[test]
    fn next_renews_between_70_and_90_percent_at_one_point_of_each_certificate() {
        let mut points = Vec::new();
        for _ in 0..40 {
            let facts = facts();
            let Next::Wait(at) = next(&facts, NOW) else {
                panic!("a fresh one is good");
            };
            let hours = (at - NOW).as_seconds_f64() / 3600.0;
            assert!((70.0..=90.0).contains(&hours), "{hours}");
            // Every look says the same.
            assert_eq!(next(&facts, NOW + Duration::hours(69)), Next::Wait(at));
            assert_eq!(next(&facts, at - Duration::seconds(1)), Next::Wait(at));
            assert_eq!(next(&facts, at), Next::Renew);
            points.push(hours);
        }
        // Forty draws leave no quarter of the span empty but once in 25,000 runs.
        for quarter in 0..4 {
            let from = 70.0 + 5.0 * f64::from(quarter);
            assert!(
                points
                    .iter()
                    .any(|point| (from..from + 5.0).contains(point)),
                "{points:?}"
            );
        }
    }

    #[test]
    fn next_outside_of_its_life_tells_before_from_after() {
        let facts = facts();
        let at = |hour| next(&facts, NOW + Duration::hours(hour));
        assert_eq!(at(91), Next::Renew);
        assert_eq!(at(99), Next::Renew);
        assert_eq!(at(100), Next::Expired);
        assert_eq!(at(-1), Next::NotYet);
    }
}
