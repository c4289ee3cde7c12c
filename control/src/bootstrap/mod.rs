//! `eyesplice bootstrap`: what a node does that has a token and no kubelet to do it.
//!
//! The key is made here and never leaves; a CSR goes to the authority or API server, and key and
//! certificate come to lie in one file, with a kubeconfig that names it. With `--keep` it is renewed
//! at 70 to 90 % of its life, at another point for each certificate so that nodes do not come all at once
//! (as client-go's certificate manager), and asked for with the token again if it has expired.

mod client;
mod diagnose;
mod error;
mod plan;
mod request;
mod schedule;
mod trust;

pub(crate) use client::Client;
pub use diagnose::{Finding, diagnose};
pub use error::BootstrapError;
pub use plan::{Joined, Options};
pub(crate) use plan::{read_pod_token, read_token};
pub(crate) use request::{Issued, Wish, certificate};
pub(crate) use schedule::{Next, next};
pub(crate) use trust::Trusted;

use eyesplice_identity::certificate::{CertificateFacts, instant};
use eyesplice_identity::random::jitter;
use eyesplice_identity::{file, pem};
use eyesplice_process::signals::Signals;
use eyesplice_proto::causes::chain;
use plan::{PAIR, Plan};
use std::convert::Infallible;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// Between two tries after a failure, at first and at most (client-go's certificate manager).
pub(crate) const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(32));

/// Between two looks at a certificate that is good.
const LOOK: Duration = Duration::from_secs(3600);

/// Room for a key and a chain of ten RSA certificates.
const ROOM: usize = 32 << 10;

/// Makes sure that the node has a certificate that need not be renewed yet.
///
/// # Errors
/// What failed, by name: token, expiry, CA pin, clock, network or approval.
pub async fn once(options: &Options, now: SystemTime) -> Result<Joined, BootstrapError> {
    look(options, now, &mut obtain).await
}

/// What the server is shown.
enum Proof {
    /// The certificate that is to be renewed: it proves more than a token that a whole fleet shares.
    Certificate(Box<pem::Credential>),
    /// The bootstrap token.
    Token,
}

/// Whom the server is trusted by, and what it gave.
type Obtained = (Trusted, Issued);

/// Asks the server.
async fn obtain(plan: &Plan, proof: Proof) -> Result<Obtained, BootstrapError> {
    let trusted = trust::establish(plan).await?;
    let endpoint = plan.endpoint.clone();
    let client = match proof {
        Proof::Certificate(own) => Client::with_certificate(endpoint, &trusted, &own)?,
        Proof::Token => {
            Client::with_token(endpoint, &trusted, read_token(&plan.options.token_file)?)?
        }
    };
    let wish = Wish::node(&plan.options.node);
    let issued = certificate(&client, &wish, plan.options.timeout).await?;
    Ok((trusted, issued))
}

/// Looks at what is there, and has `obtain` get another one if it is due.
async fn look(
    options: &Options,
    now: SystemTime,
    obtain: &mut impl AsyncFnMut(&Plan, Proof) -> Result<Obtained, BootstrapError>,
) -> Result<Joined, BootstrapError> {
    let plan = Plan::new(options)?;
    let now = OffsetDateTime::from(now);
    let proof = match plan.current() {
        None => Proof::Token,
        Some(current) => match next(&current.leaf, now) {
            Next::Wait(renew_at) => return Ok(plan.joined(&current.leaf, renew_at, true)),
            Next::NotYet => return Err(not_yet(&current.leaf, now)),
            Next::Renew => Proof::Certificate(Box::new(current)),
            Next::Expired => Proof::Token,
        },
    };
    // What could not be kept is not asked for: each try would leave a CSR at the server.
    file::create_dir(&options.dir)?;
    file::check_room(&plan.path(PAIR), ROOM)?;
    let (trusted, issued) = obtain(&plan, proof).await?;
    let facts = plan.store(&trusted, &issued)?;
    match next(&facts, now) {
        Next::Wait(at) => Ok(plan.joined(&facts, at, false)),
        Next::Renew => Ok(plan.joined(&facts, now, false)),
        // It may be good, and only this clock be wrong: it is kept.
        Next::NotYet => Err(not_yet(&facts, now)),
        Next::Expired => Err(BootstrapError::Over {
            not_after: instant(facts.not_after),
            now: instant(now),
        }),
    }
}

fn not_yet(facts: &CertificateFacts, now: OffsetDateTime) -> BootstrapError {
    BootstrapError::NotYet {
        not_before: instant(facts.not_before),
        now: instant(now),
    }
}

/// Keeps the certificate valid until a signal ends it.
///
/// # Errors
/// Signals cannot be caught.
pub async fn keep(options: &Options) -> std::io::Result<()> {
    let mut signals = Signals::catch()?;
    let work = work(options, SystemTime::now, obtain);
    let stopped = signals.unless_stopped(|| {}, work).await;
    let Err(signal) = stopped;
    tracing::info!(signal, "stopping");
    Ok(())
}

async fn work(
    options: &Options,
    clock: impl Fn() -> SystemTime,
    mut obtain: impl AsyncFnMut(&Plan, Proof) -> Result<Obtained, BootstrapError>,
) -> Infallible {
    let mut pause = RETRY.0;
    loop {
        let wait = match look(options, clock(), &mut obtain).await {
            Ok(joined) => {
                pause = RETRY.0;
                let left = joined.renew_at - OffsetDateTime::from(clock());
                tracing::info!(
                    pair = %joined.pair.display(),
                    not_after = instant(joined.not_after),
                    renew_at = instant(joined.renew_at),
                    unchanged = joined.unchanged,
                    "client certificate is in place"
                );
                // Looked at again at least each hour: clocks jump, files are deleted.
                let left = Duration::try_from(left).unwrap_or_default();
                left.clamp(RETRY.0, LOOK)
            }
            Err(error) => {
                let cause = error.cause();
                let error = chain(&error);
                // Up to half as long again, so that the nodes of a server that was down do not come
                // back at once.
                let wait = pause.mul_f64(1.0 + jitter() / 2.0);
                tracing::error!(cause, error, ?wait, "no client certificate; trying again");
                pause = (pause * 2).min(RETRY.1);
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod keeping;
#[cfg(test)]
mod tests;
