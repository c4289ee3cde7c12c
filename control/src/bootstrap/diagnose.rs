//! `--dry-run`: looks at everything that a node needs to join, and changes nothing.

use super::client::Client;
use super::error::BootstrapError;
use super::plan::{Options, Plan, read_token};
use super::request::{self, PATH, Wish};
use super::schedule::{Next, next};
use super::trust;
use eyesplice_identity::certificate::instant;
use eyesplice_proto::causes::chain;
use hyper::Method;
use std::time::SystemTime;
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

/// Clocks that are further apart than this reject fresh certificates: issuers backdate by it.
const SKEW: Duration = Duration::minutes(5);

/// One part and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// token, expiry, CA pin, network, clock or approval.
    pub part: &'static str,
    /// What is right, or what is wrong and what to do.
    pub outcome: Result<String, String>,
}

/// Looks at each part in turn; what builds on a part that failed is left out.
pub async fn diagnose(options: &Options, now: SystemTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = OffsetDateTime::from(now);
    let plan = match Plan::new(options) {
        Ok(plan) => plan,
        Err(error) => return vec![failed(&error)],
    };
    let token = read_token(&plan.options.token_file);
    findings.push(match &token {
        Ok(token) => good(
            "token",
            format!("bootstrap token {} has the right form", token.id),
        ),
        Err(error) => failed(error),
    });
    findings.push(good("expiry", expiry(&plan, now)));
    let trusted = match trust::establish(&plan).await {
        Ok(trusted) => trusted,
        Err(error) => {
            findings.push(failed(&error));
            return findings;
        }
    };
    let count = trusted.certificates.len();
    findings.push(good("CA pin", format!("{count} CA certificates to trust")));
    let Ok(token) = token else { return findings };
    match Client::with_token(plan.endpoint.clone(), &trusted, token) {
        Ok(client) => online(&client, &plan, now, &mut findings).await,
        Err(error) => findings.push(failed(&error)),
    }
    findings
}

/// What only the server can tell.
async fn online(client: &Client, plan: &Plan, now: OffsetDateTime, findings: &mut Vec<Finding>) {
    let body = match request::ask(&Wish::node(&plan.options.node)) {
        Ok(asked) => asked.body,
        Err(error) => return findings.push(failed(&error)),
    };
    let path = format!("{PATH}?dryRun=All");
    let answer = match client.ask(Method::POST, &path, Some(&body)).await {
        Ok(answer) => answer,
        Err(error) => return findings.push(failed(&error)),
    };
    findings.push(good(
        "network",
        format!("{} answers, and is trusted", client.server()),
    ));
    findings.push(clock(answer.date.as_deref(), now));
    findings.push(match request::expect(client, &answer, 201) {
        Ok(()) => {
            let text = "the server accepts the token and the request; its approver decides \
                        whether it is approved without a person";
            good("approval", text.to_owned())
        }
        Err(error) => failed(&error),
    });
}

fn expiry(plan: &Plan, now: OffsetDateTime) -> String {
    let Some(current) = plan.current() else {
        return "there is no certificate yet: the token will be used".to_owned();
    };
    let end = instant(current.leaf.not_after);
    match next(&current.leaf, now) {
        Next::Wait(_) => format!("the certificate is valid until {end}; there is nothing to do"),
        Next::Renew => format!("the certificate is valid until {end}; it will be renewed"),
        Next::Expired => format!("the certificate expired {end}: the token will be used"),
        Next::NotYet => format!(
            "the certificate is valid from {} on: this node's clock is behind",
            instant(current.leaf.not_before)
        ),
    }
}

fn clock(date: Option<&str>, now: OffsetDateTime) -> Finding {
    let part = "clock";
    // RFC 9110, section 5.6.7, writes GMT where RFC 2822 has an offset.
    let theirs = date.map(|date| date.replace("GMT", "+0000"));
    let theirs = theirs.and_then(|date| OffsetDateTime::parse(&date, &Rfc2822).ok());
    let Some(theirs) = theirs else {
        return good(part, "the server does not send its time".to_owned());
    };
    let apart = (theirs - now).abs();
    if apart > SKEW {
        let text = format!(
            "this node's clock is {} s from the server's ({}); set it by NTP",
            apart.whole_seconds(),
            instant(theirs)
        );
        return Finding {
            part,
            outcome: Err(text),
        };
    }
    good(
        part,
        format!("within {} s of the server's", apart.whole_seconds()),
    )
}

fn good(part: &'static str, text: String) -> Finding {
    Finding {
        part,
        outcome: Ok(text),
    }
}

fn failed(error: &BootstrapError) -> Finding {
    Finding {
        part: error.cause(),
        outcome: Err(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::pki::testing::NOW;

    #[test]
    fn clock_is_judged_by_the_servers_date() {
        assert!(
            clock(Some("Sun, 22 Nov 2026 08:04:00 GMT"), NOW)
                .outcome
                .is_ok()
        );
        let wrong = clock(Some("Sun, 22 Nov 2026 09:00:00 GMT"), NOW)
            .outcome
            .unwrap_err();
        assert!(wrong.contains("3600 s") && wrong.contains("NTP"), "{wrong}");
        assert!(clock(None, NOW).outcome.is_ok());
    }
}
