//! `eyesplice break-glass`: asks the gateway on this host how break-glass is, and what it would do.

use super::admin::{AskError, admin, ask};
use super::break_glass_args::{
    BreakGlassCommand, BreakGlassDrillArgs, BreakGlassStatusArgs, DrilledStream,
};
use super::say::{complain, print};
use super::table::{columns, word};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_process::Exit;
use eyesplice_proto::causes::chain;
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
enum BreakGlassError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the answer of {0} is not what eyesplice gives; is the endpoint another program's?")]
    Answer(SocketAddr, #[source] serde_json::Error),
    #[error("{0:?} names no pod; write NAMESPACE/POD, such as shop/web-0")]
    Pod(String),
}

pub(super) fn run(command: BreakGlassCommand) -> Exit {
    let result = match command {
        BreakGlassCommand::Status(args) => status(&args),
        BreakGlassCommand::Drill(args) => drill(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&chain(&error));
        Exit::Failure
    })
}

fn status(args: &BreakGlassStatusArgs) -> Result<Exit, BreakGlassError> {
    let address = admin(&args.process)?;
    let answer = ask(address, "/break-glass")?;
    if args.json {
        return Ok(print(&answer));
    }
    Ok(print(&shown(&parsed(address, &answer)?)))
}

fn drill(args: &BreakGlassDrillArgs) -> Result<Exit, BreakGlassError> {
    let address = admin(&args.process)?;
    let pod = args.pod.split_once('/');
    let (namespace, pod) = pod.ok_or_else(|| BreakGlassError::Pod(args.pod.clone()))?;
    let stream = match args.stream {
        DrilledStream::Exec => "exec",
        DrilledStream::Attach => "attach",
        DrilledStream::Portforward => "portforward",
        DrilledStream::Log => "log",
    };
    let path = format!(
        "/break-glass/drill?user={}&namespace={}&pod={}&stream={stream}{}",
        encoded(&args.user),
        encoded(namespace),
        encoded(pod),
        if args.spdy { "&spdy=true" } else { "" }
    );
    let answer = ask(address, &path)?;
    let report = parsed(address, &answer)?;
    let printed = match args.json {
        true => print(&answer),
        false => print(&drilled(&report)),
    };
    Ok(match report["allowed"].as_bool() {
        Some(true) => printed,
        _ => Exit::Failure,
    })
}

fn parsed(address: SocketAddr, answer: &str) -> Result<Json, BreakGlassError> {
    serde_json::from_str(answer).map_err(|error| BreakGlassError::Answer(address, error))
}

/// Percent-encodes what is not plain (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A String takes all that is written.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether it is in force, then tables of servers and kubelets.
fn shown(report: &Json) -> String {
    let mut text = match (report["inForce"].as_bool(), report["whyNot"].as_str()) {
        (Some(true), _) => format!("in force since {}\n", word(&report["since"])),
        (_, Some(why)) => format!("not in force: {why}\n"),
        (_, None) => "not in force\n".to_owned(),
    };
    text.push_str(&format!(
        "remembers {} of {} reviews, {} of {} places of pods\n",
        report["reviews"]["count"],
        report["reviews"]["most"],
        report["places"]["count"],
        report["places"]["most"],
    ));
    let none = Vec::new();
    let servers = report["servers"].as_array().unwrap_or(&none);
    let vantage = format!("FROM {}", word(&report["vantage"]));
    let row = |server: &Json| {
        vec![
            word(&server["server"]),
            word(&server["here"]["state"]),
            word(&server["vantage"]["state"]),
        ]
    };
    let head = ["API SERVER", "FROM HERE", &vantage];
    text.push_str(&columns(&head, servers.iter().map(row).collect()));
    for server in servers {
        for (path, from) in [("here", "here"), ("vantage", "the vantage")] {
            if let Some(error) = server[path]["error"].as_str() {
                text.push_str(&format!(
                    "{} from {from}: {error}\n",
                    word(&server["server"])
                ));
            }
        }
    }
    let kubelets = report["kubelets"].as_array().unwrap_or(&none);
    let row = |kubelet: &Json| {
        vec![
            word(&kubelet["node"]),
            word(&kubelet["allowed"]),
            word(&kubelet["untilAtMost"]),
        ]
    };
    let head = ["NODE", "ALLOWED LAST", "UNTIL AT MOST"];
    text.push_str(&columns(&head, kubelets.iter().map(row).collect()));
    for kubelet in kubelets {
        if let Some(error) = kubelet["error"].as_str() {
            text.push_str(&format!("{}: {error}\n", word(&kubelet["node"])));
        }
    }
    text
}

fn drilled(report: &Json) -> String {
    let now = match report["whyNotInForce"].as_str() {
        None => "break-glass is in force".to_owned(),
        Some(why) => format!("break-glass is not in force: {why}"),
    };
    match report["allowed"].as_bool() {
        Some(true) => format!(
            "would be allowed by rule {}: reviewed {}, on node {} at {}\n{}{now}\n",
            word(&report["rule"]),
            word(&report["reviewed"]),
            word(&report["node"]),
            word(&report["placed"]),
            match report["reads"].as_bool() {
                Some(true) => "",
                _ => "not with kubectl, which gets the pod first: the user may not do that\n",
            },
        ),
        _ => format!("would be refused: {}\n{now}\n", word(&report["why"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shown_status_says_what_stands_in_the_way() {
        let report = json!({
            "inForce": false, "whyNot": "API server 10.0.0.1:6443 answers", "since": null,
            "vantage": "10.9.0.4:8131",
            "servers": [{"server": "10.0.0.1:6443", "here": {"state": "answers", "error": null},
                         "vantage": {"state": "unclear", "error": "no proxy"}}],
            "reviews": {"count": 2, "most": 8192}, "places": {"count": 1, "most": 2048},
            "kubelets": [{"node": "w-1", "allowed": "today", "untilAtMost": null,
                          "error": "refused"}],
        });
        assert_eq!(
            shown(&report),
            "\
not in force: API server 10.0.0.1:6443 answers
remembers 2 of 8192 reviews, 1 of 2048 places of pods
API SERVER     FROM HERE  FROM 10.9.0.4:8131
10.0.0.1:6443  answers    unclear
10.0.0.1:6443 from the vantage: no proxy
NODE  ALLOWED LAST  UNTIL AT MOST
w-1   today         -
w-1: refused
"
        );
        let report = json!({"inForce": true, "since": "today", "reviews": {}, "places": {}});
        assert!(shown(&report).starts_with("in force since today\n"));
    }

    #[test]
    fn drilled_says_what_would_be() {
        let yes = json!({"allowed": true, "rule": "sre", "reviewed": "today", "node": "w-1",
                         "placed": "now", "whyNotInForce": "API server a answers",
                         "reads": true});
        assert_eq!(
            drilled(&yes),
            "would be allowed by rule sre: reviewed today, on node w-1 at now\n\
             break-glass is not in force: API server a answers\n"
        );
        let bare = json!({"allowed": true, "reads": false, "rule": "sre", "reviewed": "today",
                          "node": "w-1", "placed": "now", "whyNotInForce": null});
        assert_eq!(
            drilled(&bare),
            "would be allowed by rule sre: reviewed today, on node w-1 at now\n\
             not with kubectl, which gets the pod first: the user may not do that\n\
             break-glass is in force\n"
        );
        let no = json!({"allowed": false, "why": "no rule", "whyNotInForce": null});
        assert_eq!(
            drilled(&no),
            "would be refused: no rule\nbreak-glass is in force\n"
        );
    }

    #[test]
    fn encoded_keeps_names_and_hides_all_else() {
        assert_eq!(encoded("web-0.a_b~"), "web-0.a_b~");
        assert_eq!(encoded("oidc:a&b=ü"), "oidc%3Aa%26b%3D%C3%BC");
    }
}
