//! Asks what one decision needs to know: all names at once, then the addresses one after the other.

use super::super::approve::{Answer, Facts, Questions, Resolution};
use super::super::limits;
use super::probe::probe;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::{ResolveError, Resolver};
use eyesplice_proto::causes::chain;
use futures_util::future::join_all;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

/// What is asked with.
pub(super) struct Means<'a> {
    pub(super) resolver: &'a Resolver,
    pub(super) metrics: &'a Metrics,
    /// How long one address may take.
    pub(super) timeout: Duration,
    /// The CA of the signer that the CSR is for, if it is served here.
    pub(super) ca: Option<&'a CertificateDer<'static>>,
}

impl Means<'_> {
    /// Asks everything, and adds it to what is known; ends with the first address that is silent.
    pub(super) async fn ask(&self, questions: &Questions, facts: &mut Facts) {
        let names = questions.names.iter().map(|name| self.look_up(name));
        facts.names.extend(join_all(names).await);
        for address in &questions.addresses {
            let answer = probe(*address, self.timeout, self.ca, UnixTime::now()).await;
            let result = match &answer {
                Answer::Node(node) if *node == questions.node => "own",
                Answer::Node(_) => "other-node",
                Answer::Stranger(_) => "stranger",
                Answer::Bare => "no-certificate",
                Answer::Alert(_) => "alert",
                Answer::Nobody(_) => "unreachable",
            };
            self.metrics.authority.check("probe", result);
            let silent = matches!(answer, Answer::Nobody(_));
            facts.addresses.insert(address.ip(), answer);
            if silent {
                return;
            }
        }
    }

    async fn look_up(&self, name: &str) -> (String, Resolution) {
        let found = self.resolver.all(name, limits::LOOKUP).await;
        let (result, resolution) = match found {
            Ok(addresses) => ("resolved", Resolution::To(addresses)),
            Err(ResolveError::Failed { source, .. }) => {
                ("failed", Resolution::Failed(chain(&source)))
            }
            Err(ResolveError::Empty { .. }) => {
                ("failed", Resolution::Failed("it has no address".to_owned()))
            }
            Err(ResolveError::Timeout { after, .. }) => {
                let why = format!("no answer within {after:?}");
                ("late", Resolution::Failed(why))
            }
        };
        self.metrics.authority.check("dns", result);
        (name.to_owned(), resolution)
    }
}
