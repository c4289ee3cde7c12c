//! Watches when everything that the gateway holds ends: a metric always, a word when it is near.

use crate::admit::Gatekeeper;
use crate::identity::instant;
use crate::leaf::LeafStore;
use crate::material::CertificateInfo;
use crate::metrics::{Metrics, Row, certificate_rows, seconds};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks; leaves are renewed as often.
const LOOK: Duration = Duration::from_secs(30);
/// A certificate that ends sooner is near its end, if that is in the last tenth of its life.
const NEAR: Duration = Duration::from_secs(7 * 86_400);
/// The same of a CA: those who trust it must be told of the next one.
const AUTHORITY_NEAR: Duration = Duration::from_secs(30 * 86_400);
/// Between two words about the same certificate that is near its end.
const REMIND: Duration = Duration::from_secs(24 * 3600);
/// The same of one that has ended.
const REMIND_EXPIRED: Duration = Duration::from_secs(3600);

/// The row of all leaves from the authority.
const LEAVES: &str = "egressCA.fromAuthority";

/// How near the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Near,
    Expired,
}

/// Watches what the gateway holds.
#[derive(Debug)]
pub(super) struct Expiry {
    gatekeeper: Arc<Gatekeeper>,
    leaves: Arc<LeafStore>,
    metrics: Arc<Metrics>,
    said: Mutex<HashMap<String, (Level, SystemTime)>>,
}

impl Expiry {
    pub(super) fn new(
        gatekeeper: Arc<Gatekeeper>,
        leaves: Arc<LeafStore>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            gatekeeper,
            leaves,
            metrics,
            said: Mutex::default(),
        }
    }

    /// Looks for as long as the task lives.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(SystemTime::now());
        }
    }

    /// Shows the ends of all certificates, says which are near, and renews leaves. Needs a runtime.
    pub(super) fn look(&self, now: SystemTime) {
        let state = self.gatekeeper.state();
        let certificates = &state.material.certificates;
        let mut rows = certificate_rows(certificates);
        if let Some(requests) = &state.material.leaf_requests
            && let Some(end) = self.leaves.sweep(requests, now)
        {
            rows.push(Row {
                labels: vec![("name", LEAVES.to_owned()), ("file", String::new())],
                value: seconds(end),
            });
        }
        self.metrics.certificates.replace(rows);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|field, _| certificates.iter().any(|info| info.field == *field));
        for certificate in certificates {
            let Some(level) = level(certificate, now) else {
                said.remove(&certificate.field);
                continue;
            };
            if is_due(said.get(&certificate.field), level, now) {
                said.insert(certificate.field.clone(), (level, now));
                say(certificate, level);
            }
        }
    }
}

fn level(certificate: &CertificateInfo, now: SystemTime) -> Option<Level> {
    let (start, end) = (certificate.not_before, certificate.not_after);
    let Ok(left) = end.duration_since(now) else {
        return Some(Level::Expired);
    };
    let most = if certificate.authority {
        AUTHORITY_NEAR
    } else {
        NEAR
    };
    let life = end.duration_since(start).unwrap_or_default();
    (left < most.min(life / 10)).then_some(Level::Near)
}

fn is_due(last: Option<&(Level, SystemTime)>, level: Level, now: SystemTime) -> bool {
    let pause = match level {
        Level::Near => REMIND,
        Level::Expired => REMIND_EXPIRED,
    };
    // A clock that was set back says it once more.
    !last.is_some_and(|(same, at)| {
        *same == level && now.duration_since(*at).is_ok_and(|since| since < pause)
    })
}

fn say(certificate: &CertificateInfo, level: Level) {
    let CertificateInfo {
        field,
        file,
        subject,
        not_after,
        ..
    } = certificate;
    let (file, end) = (file.display(), instant((*not_after).into()));
    match level {
        Level::Near => {
            tracing::warn!(field, %file, subject, end, "certificate ends soon; renew it");
        }
        Level::Expired => {
            tracing::error!(field, %file, subject, end, "certificate has expired; replace it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const HOUR: Duration = Duration::from_secs(3600);

    fn of(hours: u32, authority: bool) -> CertificateInfo {
        CertificateInfo {
            field: "x".to_owned(),
            file: "x".into(),
            subject: "CN=x".to_owned(),
            serial: String::new(),
            authority,
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + HOUR * hours,
        }
    }

    #[test]
    fn level_is_near_in_the_last_tenth_and_within_days() {
        let at = |hours: u32| UNIX_EPOCH + HOUR * hours;
        let year = 365 * 24;
        for (hours, authority, now, expected) in [
            (24, false, 20, None),
            (24, false, 22, Some(Level::Near)),
            (24, false, 25, Some(Level::Expired)),
            (year, false, year - 8 * 24, None),
            (year, false, year - 6 * 24, Some(Level::Near)),
            (10 * year, true, 10 * year - 31 * 24, None),
            (10 * year, true, 10 * year - 29 * 24, Some(Level::Near)),
        ] {
            let found = level(&of(hours, authority), at(now));
            assert_eq!(found, expected, "{hours} {authority} {now}");
        }
    }

    #[test]
    fn reminder_comes_again_after_its_pause_or_when_it_gets_worse() {
        let at = |hours: u32| UNIX_EPOCH + HOUR * hours;
        let near = (Level::Near, at(10));
        assert!(is_due(None, Level::Near, at(10)));
        assert!(!is_due(Some(&near), Level::Near, at(33)));
        assert!(is_due(Some(&near), Level::Near, at(34)));
        assert!(is_due(Some(&near), Level::Expired, at(11)));
        let expired = (Level::Expired, at(10));
        assert!(!is_due(Some(&expired), Level::Expired, at(10)));
        assert!(is_due(Some(&expired), Level::Expired, at(11)));
        assert!(is_due(Some(&expired), Level::Expired, at(9)), "set back");
    }
}
