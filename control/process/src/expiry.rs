//! Shows when each certificate ends, and says when one ends soon or has ended: once, and again
//! after a while.

use crate::metrics::{Row, Table};
use eyesplice_identity::certificate::instant;
use eyesplice_identity::pem::CertificateInfo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks; a gateway's leaves are renewed as often.
const LOOK: Duration = Duration::from_secs(30);
/// A certificate that ends sooner is near its end, if that is in the last tenth of its life.
const NEAR: Duration = Duration::from_secs(7 * 86_400);
/// The same of a CA: those who trust it must be told of the next one.
const AUTHORITY_NEAR: Duration = Duration::from_secs(30 * 86_400);
/// Between two words about the same certificate that is near its end.
const REMIND: Duration = Duration::from_secs(24 * 3600);
/// The same of one that has ended.
const REMIND_EXPIRED: Duration = Duration::from_secs(3600);

/// How near the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Near,
    Expired,
}

/// The certificates that a process has loaded, or a part of it.
#[derive(Debug)]
pub struct Expiry {
    part: &'static str,
    table: Arc<Table>,
    held: Mutex<Held>,
}

impl Expiry {
    /// Holds none yet, and will show them as this part of a table.
    pub(crate) fn new(part: &'static str, table: Arc<Table>) -> Arc<Self> {
        Arc::new(Self {
            part,
            table,
            held: Mutex::default(),
        })
    }

    /// Holds these from now on, and looks at them.
    pub(crate) fn replace(&self, certificates: Vec<CertificateInfo>, now: SystemTime) {
        let rows = certificates.iter().map(|certificate| {
            let file = certificate.file.display().to_string();
            row(&certificate.field, file, certificate.not_after)
        });
        self.table.replace_part(self.part, rows.collect());
        self.held.lock().certificates = certificates;
        self.look(now);
    }

    /// Says which of them end soon or have ended, unless that was said a short while ago.
    pub(crate) fn look(&self, now: SystemTime) {
        for (certificate, level) in self.held.lock().due(now) {
            say(certificate, level);
        }
    }
}

/// A row of the metric that shows when certificates end: field and file, and seconds since 1970.
pub fn row(field: &str, file: String, end: SystemTime) -> Row {
    let since = end.duration_since(UNIX_EPOCH).unwrap_or_default();
    Row {
        labels: vec![("name", field.to_owned()), ("file", file)],
        value: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
    }
}

/// Certificates, and what has been said about each, by the field that names it.
#[derive(Debug, Default)]
struct Held {
    certificates: Vec<CertificateInfo>,
    said: HashMap<String, (Level, SystemTime)>,
}

impl Held {
    /// What is to be said, and will have been; what is not held any more is forgotten.
    fn due(&mut self, now: SystemTime) -> Vec<(&CertificateInfo, Level)> {
        let Self { certificates, said } = self;
        let mut due = Vec::new();
        said.retain(|field, _| certificates.iter().any(|info| info.field == *field));
        for certificate in certificates {
            let Some(level) = level(certificate, now) else {
                said.remove(&certificate.field);
                continue;
            };
            if is_due(said.get(&certificate.field), level, now) {
                said.insert(certificate.field.clone(), (level, now));
                due.push((&*certificate, level));
            }
        }
        due
    }
}

/// Looks now and from time to time, for as long as the task lives.
pub async fn watch(look: impl Fn(SystemTime)) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        look(SystemTime::now());
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
    fn due_names_each_once_until_it_is_replaced() {
        let at = |hours: u32| UNIX_EPOCH + HOUR * hours;
        let mut reminders = Held::default();
        let mut said = |certificates: &[CertificateInfo], hours| {
            reminders.certificates = certificates.to_vec();
            let due = reminders.due(at(hours)).into_iter();
            due.map(|(certificate, level)| (certificate.field.clone(), level))
                .collect::<Vec<_>>()
        };
        let named = |field: &str, hours| CertificateInfo {
            field: field.to_owned(),
            ..of(hours, false)
        };
        let held = [named("short", 24), named("long", 1000)];
        assert_eq!(said(&held, 20), []);
        assert_eq!(said(&held, 22), [("short".to_owned(), Level::Near)]);
        assert_eq!(said(&held, 23), []);
        assert_eq!(said(&held, 25), [("short".to_owned(), Level::Expired)]);
        // Its successor is a word of its own, when its time comes.
        let held = [named("short", 48), named("long", 1000)];
        assert_eq!(said(&held, 25), []);
        assert_eq!(said(&held, 46), [("short".to_owned(), Level::Near)]);
        // So is what was away in between.
        assert_eq!(said(&held[1..], 46), []);
        assert_eq!(said(&held, 46), [("short".to_owned(), Level::Near)]);
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
