//! One audit event as one line of JSON, as API servers write it.
//!
//! Source: apiserver `pkg/apis/audit/v1/types.go`; the order of fields is that of its log.

use super::policy::{API_VERSION, Level, Stage};
use eyesplice_identity::certificate::rfc3339;
use eyesplice_identity::user::UserInfo;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

/// What each event begins with; in a list of events it is left out.
pub(super) const HEAD: &[u8] = b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",";

/// What a list of events begins and ends with.
pub(super) const LIST: [&[u8]; 2] = [
    b"{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\"items\":[",
    b"]}\n",
];

/// The status of a request whose client left before there was one.
const LEFT: Status = Status {
    metadata: Empty {},
    status: Some("Success"),
    message: Some("Connection closed early"),
    code: 200,
};

/// What all events of a request have in common.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) level: Level,
    pub(super) id: Arc<str>,
    /// Without the command, unless the level asks for it.
    pub(super) uri: String,
    pub(super) verb: &'static str,
    pub(super) user: Arc<UserInfo>,
    pub(super) source: String,
    pub(super) agent: String,
    pub(super) namespace: Box<str>,
    pub(super) pod: Box<str>,
    pub(super) subresource: &'static str,
    pub(super) received: SystemTime,
    /// Why the user may: the authorizer's own words.
    pub(super) allowed: Arc<str>,
    /// Where the stream goes, if it goes anywhere.
    pub(super) node: Arc<str>,
    /// The serial number of the certificate, where no API server could be asked.
    pub(super) break_glass: Option<Arc<str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'static str,
    user: &'a UserInfo,
    #[serde(rename = "sourceIPs")]
    source_ips: [&'a str; 1],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    object_ref: ObjectReference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Status>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReference<'a> {
    resource: &'static str,
    namespace: &'a str,
    name: &'a str,
    api_version: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'static str,
}

/// `Status` of `meta/v1`.
#[derive(Serialize)]
struct Status {
    metadata: Empty,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Annotations<'a> {
    #[serde(rename = "authorization.k8s.io/decision")]
    decision: &'static str,
    #[serde(rename = "authorization.k8s.io/reason")]
    reason: &'a str,
    /// What no API server says: it went past them, to this node.
    #[serde(
        rename = "eyesplice.dev/short-way",
        skip_serializing_if = "str::is_empty"
    )]
    node: &'a str,
    /// By a certificate with this serial number, while no API server could be asked.
    #[serde(
        rename = "eyesplice.dev/break-glass",
        skip_serializing_if = "Option::is_none"
    )]
    break_glass: Option<&'a str>,
}

/// Writes the event of a stage, a line feed behind it; `status` is that of the reply, if there was
/// one.
pub(super) fn write(facts: &Facts, stage: Stage, status: Option<u16>, now: SystemTime) -> Vec<u8> {
    let begins = stage == Stage::RequestReceived;
    let received = rfc3339(facts.received);
    let code = status.map(|code| Status {
        metadata: Empty {},
        status: None,
        message: None,
        code,
    });
    let event = Event {
        kind: "Event",
        api_version: API_VERSION,
        level: facts.level.as_str(),
        audit_id: &facts.id,
        stage: stage.as_str(),
        request_uri: &facts.uri,
        verb: facts.verb,
        user: &facts.user,
        source_ips: [&facts.source],
        user_agent: &facts.agent,
        object_ref: ObjectReference {
            resource: "pods",
            namespace: &facts.namespace,
            name: &facts.pod,
            api_version: "v1",
            subresource: facts.subresource,
        },
        response_status: (!begins).then_some(code.unwrap_or(LEFT)),
        stage_timestamp: match begins {
            true => received.clone(),
            false => rfc3339(now),
        },
        request_received_timestamp: received,
        // API servers authorise behind the first stage.
        annotations: (!begins).then_some(Annotations {
            decision: "allow",
            reason: &facts.allowed,
            node: &facts.node,
            break_glass: facts.break_glass.as_deref(),
        }),
    };
    // Strings and numbers have no way to fail.
    let mut line = serde_json::to_vec(&event).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes the line that stands where events are missing.
pub(super) fn lost(now: SystemTime, events: u64, why: &str) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Lost<'a> {
        kind: &'static str,
        api_version: &'static str,
        events: u64,
        reason: &'a str,
        stage_timestamp: String,
    }
    let line = Lost {
        kind: "EventsLost",
        api_version: "eyesplice.dev/v1alpha1",
        events,
        reason: why,
        stage_timestamp: rfc3339(now),
    };
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Parameters of streams that are told at every level. What is not among them may be a secret.
const TOLD: [&str; 13] = [
    "container",
    "stdin",
    "stdout",
    "stderr",
    "tty",
    "ports",
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "timestamps",
];

/// The URI of a request as a level has it.
pub(super) fn uri(path: &str, query: Option<&str>, level: Level) -> String {
    let Some(query) = query else {
        return path.to_owned();
    };
    if level.has_request() {
        return format!("{path}?{query}");
    }
    let told = |pair: &&str| TOLD.contains(&pair.split('=').next().unwrap_or_default());
    let pairs: Vec<_> = query.split('&').filter(told).collect();
    match pairs.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pairs.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// An exec of a 1.29 API server's own audit log: names, address and times are changed.
    const REAL: &str = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#,
        r#""level":"Metadata","auditID":"927fcde7-74e5-4a57-af53-dceacefaf47c","#,
        r#""stage":"ResponseStarted","#,
        r#""requestURI":"/api/v1/namespaces/shop/pods/web-0/exec?container=app\u0026stdin=true"#,
        r#"\u0026stdout=true\u0026tty=true","verb":"create","#,
        r#""user":{"username":"jane","groups":["dev","system:authenticated"]},"#,
        r#""sourceIPs":["192.0.2.9"],"#,
        r#""userAgent":"kubectl/v1.29.3 (linux/amd64) kubernetes/6813625","#,
        r#""objectRef":{"resource":"pods","namespace":"shop","name":"web-0","#,
        r#""apiVersion":"v1","subresource":"exec"},"#,
        r#""responseStatus":{"metadata":{},"code":101},"#,
        r#""requestReceivedTimestamp":"2026-12-01T01:02:03.189258Z","#,
        r#""stageTimestamp":"2026-12-01T01:02:03.214173Z","#,
        r#""annotations":{"authorization.k8s.io/decision":"allow","#,
        r#""authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"b/shop\" of Role \"r\" "#,
        r#"to User \"jane\""}}"#,
    );

    fn facts() -> Facts {
        let path = "/api/v1/namespaces/shop/pods/web-0/exec";
        let query = "command=%2Fbin%2Fsh&container=app&stdin=true&stdout=true&tty=true";
        Facts {
            level: Level::Metadata,
            id: "927fcde7-74e5-4a57-af53-dceacefaf47c".into(),
            uri: uri(path, Some(query), Level::Metadata),
            verb: "create",
            user: Arc::new(UserInfo {
                username: "jane".to_owned(),
                groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
                ..UserInfo::default()
            }),
            source: "192.0.2.9".to_owned(),
            agent: "kubectl/v1.29.3 (linux/amd64) kubernetes/6813625".to_owned(),
            namespace: "shop".into(),
            pod: "web-0".into(),
            subresource: "exec",
            received: SystemTime::UNIX_EPOCH + Duration::from_micros(1_796_086_923_189_258),
            allowed: r#"RBAC: allowed by RoleBinding "b/shop" of Role "r" to User "jane""#.into(),
            node: "worker-3".into(),
            break_glass: None,
        }
    }

    fn event(facts: &Facts, stage: Stage, status: Option<u16>) -> Value {
        let now = facts.received + Duration::from_micros(24_915);
        serde_json::from_slice(&write(facts, stage, status, now)).unwrap()
    }

    #[test]
    fn event_is_an_api_servers_own_but_for_the_node() {
        let mut started = event(&facts(), Stage::ResponseStarted, Some(101));
        let annotations = started["annotations"].as_object_mut().unwrap();
        assert_eq!(
            annotations.remove("eyesplice.dev/short-way"),
            Some(json!("worker-3"))
        );
        assert_eq!(started, serde_json::from_str::<Value>(REAL).unwrap());
        // In the same order, as far as both go.
        let now = facts().received + Duration::from_micros(24_915);
        let line = write(&facts(), Stage::ResponseStarted, Some(101), now);
        let line = String::from_utf8(line).unwrap().replace('&', "\\u0026");
        let shared = REAL.strip_suffix("}}").unwrap();
        assert!(line.starts_with(shared), "{line}");
        assert!(line.as_bytes().starts_with(HEAD));
    }

    #[test]
    fn event_by_break_glass_names_the_certificate() {
        let mut facts = facts();
        facts.break_glass = Some("0a:1b".into());
        let event = event(&facts, Stage::ResponseComplete, Some(101));
        assert_eq!(event["annotations"]["eyesplice.dev/break-glass"], "0a:1b");
        assert_eq!(event["annotations"]["eyesplice.dev/short-way"], "worker-3");
    }

    #[test]
    fn event_of_the_first_stage_knows_no_status_and_no_authorizer() {
        let received = event(&facts(), Stage::RequestReceived, None);
        assert_eq!(
            received["stageTimestamp"],
            received["requestReceivedTimestamp"]
        );
        assert_eq!(received["responseStatus"], Value::Null);
        assert_eq!(received["annotations"], Value::Null);
        assert_eq!(received["objectRef"]["subresource"], "exec");
    }

    #[test]
    fn event_of_a_client_that_left_says_what_an_api_servers_does() {
        let complete = event(&facts(), Stage::ResponseComplete, None);
        assert_eq!(
            complete["responseStatus"],
            json!({"metadata": {}, "status": "Success", "message": "Connection closed early",
                   "code": 200})
        );
    }

    #[test]
    fn event_has_uid_and_extra_of_its_user() {
        let mut facts = facts();
        facts.user = Arc::new(UserInfo {
            username: "jane".to_owned(),
            uid: "u-1".to_owned(),
            groups: Vec::new(),
            extra: BTreeMap::from([("a/b".to_owned(), vec!["1".to_owned()])]),
        });
        let event = event(&facts, Stage::ResponseComplete, Some(200));
        assert_eq!(
            event["user"],
            json!({"username": "jane", "uid": "u-1", "extra": {"a/b": ["1"]}})
        );
    }

    #[test]
    fn uri_has_the_command_only_where_requests_are_recorded() {
        let query = "command=hunter2&comm%61nd=hunter3&env=A%3Dhunter4&stdin=true&container=app";
        for (level, want) in [
            (Level::Metadata, "/p?stdin=true&container=app".to_owned()),
            (Level::Request, format!("/p?{query}")),
            (Level::RequestResponse, format!("/p?{query}")),
        ] {
            assert_eq!(uri("/p", Some(query), level), want);
        }
        assert_eq!(uri("/p", Some("command=a"), Level::Metadata), "/p");
        assert_eq!(uri("/p", None, Level::Request), "/p");
    }
}
