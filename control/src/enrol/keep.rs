//! Keeps all certificates of a gateway or an agent valid, for as long as it runs.

use super::obtain::{Kept, Lack, obtain};
use super::want::{Want, Wants};
use crate::bootstrap::RETRY;
use eyesplice_identity::certificate::instant;
use eyesplice_process::metrics::EnrolmentMetrics;
use eyesplice_proto::causes::chain;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// Between two rounds: files are deleted, clocks jump.
const LONGEST: Duration = Duration::from_secs(3600);
/// A certificate that is due the moment it comes must not make a loop that spins.
const SHORTEST: Duration = Duration::from_secs(1);

/// What is wanted, as configurations come.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    wants: watch::Sender<Option<Wants>>,
    look: Arc<Notify>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            wants: watch::Sender::new(None),
            look: Arc::default(),
        }
    }
}

impl Wanted {
    /// A configuration was read; its files may be there or not.
    pub(crate) fn read(&self, wants: Option<Wants>) {
        let differs = self.wants.send_if_modified(|old| {
            let differs = *old != wants;
            *old = wants;
            differs
        });
        if !differs {
            self.look.notify_one();
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// A first round is over.
    pub(crate) looked: bool,
    /// What is not there, and why.
    pub(crate) missing: Vec<String>,
}

impl Progress {
    /// Everything that is wanted is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.looked && self.missing.is_empty()
    }
}

/// Runs until nobody wants anything any more.
pub(crate) async fn keep(
    wanted: Wanted,
    progress: watch::Sender<Progress>,
    metrics: EnrolmentMetrics,
) {
    let mut changes = wanted.wants.subscribe();
    let mut pause = RETRY.0;
    loop {
        let wants = changes.borrow_and_update().clone();
        let wait = match &wants {
            None => {
                progress.send_replace(Progress {
                    looked: true,
                    missing: Vec::new(),
                });
                LONGEST
            }
            Some(wants) => tokio::select! {
                round = round(wants, &metrics) => {
                    progress.send_replace(Progress {
                        looked: true,
                        missing: round.missing,
                    });
                    if round.failed {
                        let wait = pause;
                        pause = (pause * 2).min(RETRY.1);
                        wait
                    } else {
                        pause = RETRY.0;
                        let left = round.renew_at.map(|at| at - OffsetDateTime::now_utc());
                        let left = left.map_or(LONGEST, |left| left.try_into().unwrap_or_default());
                        left.clamp(SHORTEST, LONGEST)
                    }
                }
                changed = changes.changed() => if changed.is_ok() { continue } else { return },
            },
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = wanted.look.notified() => {}
            () = sleep(wait) => {}
        }
    }
}

/// What one round came to.
#[derive(Debug, Default)]
struct Round {
    missing: Vec<String>,
    failed: bool,
    renew_at: Option<OffsetDateTime>,
}

/// Looks at each certificate once. Without the first one, which is the asker's own, there is
/// nobody to ask for the others.
async fn round(wants: &Wants, metrics: &EnrolmentMetrics) -> Round {
    let mut round = Round::default();
    for want in &wants.certificates {
        let now = SystemTime::now();
        match obtain(&wants.identity, want, now).await {
            Ok(Kept { renew_at, issued }) => {
                let earliest = round.renew_at.map_or(renew_at, |at| at.min(renew_at));
                round.renew_at = Some(earliest);
                if issued {
                    metrics.answered(want.wish.signer, "issued");
                    tracing::info!(
                        field = want.file.field,
                        file = %want.file.path.display(),
                        renew_at = instant(renew_at),
                        "certificate was issued by the authority"
                    );
                }
            }
            Err(lack) => {
                report(want, &lack, metrics);
                round.failed = true;
                if lack.old_until.is_none() {
                    let why = chain(&lack.error);
                    let field = &want.file.field;
                    let missing = format!("{field}: {}: {why}", lack.error.cause());
                    round.missing.push(missing);
                    if want.file == wants.certificates[0].file {
                        break;
                    }
                }
            }
        }
    }
    round
}

fn report(want: &Want, lack: &Lack, metrics: &EnrolmentMetrics) {
    let Lack { error, old_until } = lack;
    metrics.answered(want.wish.signer, error.result());
    let (field, part, error) = (&want.file.field, error.cause(), chain(error));
    match old_until {
        Some(until) => tracing::warn!(
            field,
            part,
            error,
            old_until = instant(*until),
            "certificate is not renewed; the old one stays in use, and the renewal is tried again"
        ),
        None => tracing::error!(
            field,
            part,
            error,
            "there is no certificate yet; the request is tried again"
        ),
    }
}
