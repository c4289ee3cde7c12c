use super::*;
use eyesplice_dataplane::seam::StreamId;
use eyesplice_proto::api::pod_stream;
use eyesplice_proto::head::{RequestHead, RequestTarget, Version};
use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};
use serde_json::Value;
use std::path::Path;

fn request(headers: &[(&'static str, &str)]) -> ApiRequest {
    let mut all = Headers::new();
    for (name, value) in headers {
        let value = HeaderValue::new(value.as_bytes().to_vec()).unwrap();
        all.append(HeaderName::from_static(name), value);
    }
    let target = "/api/v1/namespaces/shop/pods/web-0/exec?command=hunter2&stdin=true";
    ApiRequest {
        id: StreamId::new(0, 1, 2),
        exchange: 3,
        listener: "kubectl".into(),
        peer: "[::ffff:192.0.2.9]:1234".parse().unwrap(),
        chain: None,
        head: RequestHead {
            method: Method::POST,
            target: RequestTarget::new(target.to_owned()).unwrap(),
            version: Version::Http11,
            headers: all,
        },
        upgrade: Some("SPDY/3.1"),
        has_body: false,
        held: None,
        short_failed: None,
        received: SystemTime::now(),
    }
}

struct Bed {
    dir: tempfile::TempDir,
    events: Events,
    recorder: Recorder,
}

impl Bed {
    fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{policy}]\n");
        std::fs::write(&file, text).unwrap();
        let settings = FrontAudit {
            policy_file: eyesplice_identity::document::FileRef::new(
                "front.audit.policyFile",
                &file,
            ),
            sink: Some(crate::config::AuditSink::File(
                dir.path().join("events.log"),
            )),
            webhook: None,
        };
        let material = EventsMaterial {
            policy: Arc::new(Policy::load(&file).unwrap()),
            webhook: None,
        };
        let events = Events::default();
        let recorder = events.configure(Some(&settings), Some(&material)).unwrap();
        Self {
            dir,
            events,
            recorder,
        }
    }

    fn begin(&self, request: &ApiRequest) -> Result<Option<Trail>, Unrecorded> {
        let stream = pod_stream(&request.head.target).unwrap();
        self.recorder.begin(&Passing {
            subresource: stream.subresource.as_str(),
            request,
            stream: &stream,
            user: &Arc::new(UserInfo {
                username: "jane".to_owned(),
                ..UserInfo::default()
            }),
            allowed: &"RBAC".into(),
            node: "worker-3",
            break_glass: None,
        })
    }

    /// All events that were written.
    fn written(&self) -> Vec<Value> {
        assert_eq!(self.events.file().unwrap().finish(limits::LAST), 0);
        read(&self.dir.path().join("events.log"))
    }
}

fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn stages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["stage"].as_str().unwrap())
        .collect()
}

#[test]
fn stream_leaves_an_event_of_each_stage_under_one_id() {
    let bed = Bed::new("{level: Metadata}");
    let request = request(&[("User-Agent", "kubectl/v1.31")]);
    let trail = bed.begin(&request).unwrap().unwrap();
    trail.answered(101);
    trail.answered(200);
    drop(trail);
    let events = bed.written();
    assert_eq!(
        stages(&events),
        ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    );
    let id = bed.recorder.id(&request).unwrap();
    for event in &events {
        assert_eq!(event["auditID"], &*id);
        assert_eq!(event["sourceIPs"][0], "192.0.2.9");
        assert_eq!(event["userAgent"], "kubectl/v1.31");
    }
    assert_eq!(events[2]["responseStatus"]["code"], 101);
    assert!(!format!("{events:?}").contains("hunter2"));
}

#[test]
fn stream_whose_client_leaves_early_is_complete_all_the_same() {
    let bed = Bed::new("{level: Request, omitStages: [RequestReceived]}");
    drop(bed.begin(&request(&[])).unwrap().unwrap());
    let events = bed.written();
    assert_eq!(stages(&events), ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(
        events[0]["responseStatus"]["message"],
        "Connection closed early"
    );
    assert!(
        events[0]["requestURI"]
            .as_str()
            .unwrap()
            .contains("hunter2")
    );
}

#[test]
fn stream_that_an_api_server_carries_after_all_is_its_to_record() {
    let bed = Bed::new("{level: Metadata}");
    let trail = bed.begin(&request(&[])).unwrap().unwrap();
    trail.handed_on();
    drop(trail);
    assert_eq!(stages(&bed.written()), ["RequestReceived"]);
}

#[test]
fn stream_that_the_policy_leaves_out_has_no_trail() {
    let bed = Bed::new("{level: None, users: [jane]}, {level: Metadata}");
    assert!(bed.begin(&request(&[])).unwrap().is_none());
}

#[test]
fn id_is_the_clients_or_the_same_for_the_same_request_alone() {
    let bed = Bed::new("{level: Metadata}");
    let mut one = request(&[]);
    let own = bed.recorder.id(&one).unwrap();
    assert_eq!(own.len(), 36, "{own}");
    assert_eq!(own.as_bytes()[14], b'4', "{own}");
    assert_eq!(bed.recorder.id(&one), Ok(own.clone()));
    one.exchange += 1;
    assert_ne!(bed.recorder.id(&one), Ok(own));
    let chosen = request(&[("audit-id", "mine")]);
    assert_eq!(bed.recorder.id(&chosen).as_deref(), Ok("mine"));
    let long = "x".repeat(limits::AUDIT_ID + 1);
    assert_eq!(
        bed.recorder.id(&request(&[("Audit-ID", &long)])),
        Err(Unrecorded)
    );
}

#[test]
fn stream_is_not_let_past_while_events_would_be_lost() {
    let mut bed = Bed::new("{level: Metadata}");
    let queue = Arc::new(Queue::default());
    bed.recorder.sinks.queue = Some(Arc::clone(&queue));
    let trail = bed.begin(&request(&[])).unwrap().unwrap();
    while queue.takes_more() {
        queue.push(b"{}");
    }
    assert_eq!(bed.begin(&request(&[])).unwrap_err(), Unrecorded);
    // What runs has room.
    let before = queue.counts().waiting;
    drop(trail);
    assert_eq!(queue.counts().waiting, before + 2);
    bed.recorder.sinks.queue = None;
    bed.recorder.sinks.broken = true;
    assert_eq!(bed.begin(&request(&[])).unwrap_err(), Unrecorded);
}

#[test]
fn file_stays_over_a_reload_unless_another_is_named() {
    let bed = Bed::new("{level: Metadata}");
    let material = EventsMaterial {
        policy: Arc::clone(&bed.recorder.policy),
        webhook: None,
    };
    let other = bed.dir.path().join("other.log");
    let mut settings = FrontAudit {
        policy_file: eyesplice_identity::document::FileRef::new("front.audit.policyFile", "p"),
        sink: Some(crate::config::AuditSink::File(
            bed.dir.path().join("events.log"),
        )),
        webhook: None,
    };
    let first = bed.events.file().unwrap();
    bed.events.configure(Some(&settings), Some(&material));
    assert!(Arc::ptr_eq(&first, &bed.events.file().unwrap()));
    settings.sink = Some(crate::config::AuditSink::File(other.clone()));
    let recorder = bed
        .events
        .configure(Some(&settings), Some(&material))
        .unwrap();
    assert!(!Arc::ptr_eq(&first, &bed.events.file().unwrap()));
    let bed = Bed { recorder, ..bed };
    drop(bed.begin(&request(&[])).unwrap());
    assert_eq!(bed.events.file().unwrap().finish(limits::LAST), 0);
    assert_eq!(read(&other).len(), 3);
    assert!(bed.events.configure(None, None).is_none());
    assert!(bed.events.file().is_none());
}
