//! Words a refusal: the reason phrase is all that the kubectl user sees (docs/wire.md, "The CONNECT
//! answer"), so each says what failed, on what, and what to do.

use crate::config::Rule;
use crate::leaf::LeafError;
use crate::policy::{Cause, Denied};
use eyesplice_dataplane::seam::{Reason, Refusal};
use eyesplice_identity::certificate::{Subject, printable};
use eyesplice_identity::verify::UpstreamError;
use eyesplice_process::resolve::ResolveError;
use eyesplice_proto::target::{Host, Target};
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

/// Longest name of a client's choice in a message.
const MAX_NAME: usize = 72;

fn refuse(status: u16, words: String, rule: Option<&Arc<str>>) -> Refusal {
    Refusal {
        status,
        reason: Reason::Denied,
        words,
        rule: rule.cloned(),
    }
}

/// No rule can allow the target, whatever its address is.
pub(super) fn no_rule(asked: &Target) -> Refusal {
    let reason = format!("no rule allows {asked}; add one under egress.rules of eyesplice");
    refuse(403, reason, None)
}

/// No agent may connect.
pub(super) fn no_agents() -> Refusal {
    let reason = "this gateway takes no agents; add a section `tunnel` to its configuration";
    refuse(403, reason.to_owned(), None)
}

/// A stream was passed on by who may not do so.
pub(super) fn no_gateway(subject: Option<&Subject>) -> Refusal {
    let who = subject.map_or_else(
        || "a client without a certificate".to_owned(),
        |subject| format!("certificate {subject}"),
    );
    let reason = format!(
        "{who} may not pass streams on to this gateway; add its common name to tunnel.peers.names \
         if it is another gateway's"
    );
    refuse(403, reason, None)
}

/// A stream was passed on that no agent is to carry.
pub(super) fn not_behind_agents(asked: &Target, rule: &Rule) -> Refusal {
    let reason = format!(
        "another gateway has passed on {asked}, which rule {} of this one does not lead to an \
         agent; add `via: tunnel` there",
        rule.name
    );
    refuse(403, reason, Some(&rule.name))
}

/// A rule denies the name, whatever its address is.
pub(super) fn denied_name(asked: &Target, rule: &Arc<str>) -> Refusal {
    let reason =
        format!("{asked} is denied by rule {rule}; change it under egress.rules of eyesplice");
    refuse(403, reason, Some(rule))
}

/// The name has no address.
pub(super) fn unresolved(error: &ResolveError) -> Refusal {
    let (status, reason) = match error {
        ResolveError::Timeout { .. } => (504, Reason::Timeout),
        _ => (503, Reason::Denied),
    };
    let source = error
        .source()
        .map(|source| format!(" ({source})"))
        .unwrap_or_default();
    Refusal {
        reason,
        ..refuse(status, format!("{error}{source}"), None)
    }
}

/// Every address is denied; the first tells.
pub(super) fn denied(asked: &Target, denied: Option<Denied>) -> Refusal {
    let Some(Denied { address, cause }) = denied else {
        return refuse(503, format!("{asked} has no address"), None);
    };
    let target = Dialled { asked, address };
    match cause {
        Cause::Builtin(denial) => {
            let remedy = if denial.can_be_exempted() {
                "correct the node's address, or list it in egress.insecureAllowTargets of eyesplice"
            } else {
                "correct the node's address"
            };
            refuse(
                403,
                format!("{target} is denied: it is {denial}; {remedy}"),
                None,
            )
        }
        Cause::Rule(name) => {
            let reason = format!(
                "{target} is denied by rule {name}; change it under egress.rules of eyesplice"
            );
            refuse(403, reason, Some(&name))
        }
        Cause::NoRule | Cause::OtherRule(_) => {
            let reason =
                format!("no rule allows {target}; add one under egress.rules of eyesplice");
            refuse(403, reason, None)
        }
    }
}

/// No certificate could ever be right for the target.
pub(super) fn unverifiable(rule: &Rule, error: &UpstreamError) -> Refusal {
    refuse(502, error.to_string(), Some(&rule.name))
}

/// The egress CA does not issue.
pub(super) fn no_leaf(rule: &Rule, error: &LeafError) -> Refusal {
    tracing::error!(%error, source = ?error.source(), "no leaf for the API server");
    let remedy = match error {
        LeafError::AuthorityExpired { .. }
        | LeafError::Refused(..)
        | LeafError::Slow(..)
        | LeafError::Busy(..) => "",
        _ => "; see the log of eyesplice",
    };
    refuse(503, format!("{error}{remedy}"), Some(&rule.name))
}

/// The client asks for a name that the rule does not have.
pub(super) fn server_name(rule: &Rule, name: &str) -> Refusal {
    let name = printable(name, MAX_NAME);
    let reason = format!(
        "server name {name} is not among upstream.serverNames of rule {}; add it there if the target \
         is to be validated for it",
        rule.name
    );
    refuse(403, reason, Some(&rule.name))
}

/// A fault of ours: configuration checks should have kept it out.
pub(super) fn internal(rule: &Rule, what: &str) -> Refusal {
    tracing::error!(rule = %rule.name, what, "verdict failed");
    let reason = format!(
        "eyesplice failed on rule {}: {what}; see its log",
        rule.name
    );
    refuse(503, reason, Some(&rule.name))
}

/// What was asked for, with the address where that is another thing.
struct Dialled<'a> {
    asked: &'a Target,
    address: IpAddr,
}

impl std::fmt::Display for Dialled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.asked.host {
            Host::Ip(_) => write!(f, "{}", self.asked),
            Host::Name(_) => write!(f, "{} at {}", self.asked, self.address),
        }
    }
}
