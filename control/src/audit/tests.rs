//! Lines, loss, rotation, and what becomes of streams while the log takes none, without a real disk fault.

use super::*;
use eyesplice_dataplane::seam::{
    ExchangeLabels, KeyExchange, Peer, Phase, Side, StreamBytes, StreamId, TunnelTls,
    VerificationResult,
};
use eyesplice_process::admin::{Audited, Condition};
use eyesplice_process::output::testing::Script;
use eyesplice_proto::route::Action;
use eyesplice_proto::tls::Group;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

fn scripted(script: &Script, on_failure: OnFailure) -> (Audit, Arc<Metrics>) {
    let metrics = Metrics::new();
    let target = Target::Scripted(script.clone());
    let audit = Audit::start(
        target,
        Path::new("audit.log"),
        on_failure,
        Arc::clone(&metrics),
    )
    .unwrap();
    (audit, metrics)
}

fn open(path: &Path) -> (Audit, Arc<Metrics>) {
    let config = config::Audit {
        sink: AuditSink::File(path.to_owned()),
        on_failure: OnFailure::Drop,
        front_requests: false,
    };
    let metrics = Metrics::new();
    (Audit::open(&config, Arc::clone(&metrics)).unwrap(), metrics)
}

/// An exec through a terminated connection, with every fact present.
pub(crate) fn exec_record(kind: RecordKind) -> StreamRecord {
    StreamRecord {
        kind,
        id: StreamId::new(0x0c0f_fee0, 1, 7),
        exchange: 1,
        listener: "mtls".into(),
        peer: Peer::Tcp {
            address: "10.0.0.1:40000".parse().unwrap(),
            identity: Some("CN=kube-apiserver-egress".into()),
        },
        client: Some("CN=kube-apiserver-kubelet-client".into()),
        target: Some("10.0.0.7:10250".parse().unwrap()),
        address: Some("10.0.0.7:10250".parse().unwrap()),
        via: None,
        rule: Some("kubelets".into()),
        node: Some("worker-3".into()),
        generation: 4,
        mode: StreamMode::TerminateKubelet,
        verification: VerificationResult::Verified("CN=system:node:worker-3".into()),
        key_exchange: KeyExchange {
            listener: Some(Group::P256),
            downstream: Some(Group::X25519),
            upstream: Some(Group::X25519MlKem768),
        },
        tunnel_tls: TunnelTls::default(),
        warm: false,
        exchange_labels: Some(ExchangeLabels {
            action: Action::Exec,
            namespace: Some("default".into()),
            pod: Some("web".into()),
            container: Some("nginx".into()),
            protocol: Some("SPDY/3.1"),
            user: None,
            path: None,
        }),
        status: Some(101),
        started: UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
        duration: if kind == RecordKind::End {
            Duration::from_millis(1500)
        } else {
            Duration::ZERO
        },
        bytes: StreamBytes { up: 10, down: 2000 },
        reason: Reason::Completed,
        side: Side::Upstream,
        phase: Phase::Relay,
        detail: None,
    }
}

/// A refused stream over a UNIX socket, with as few facts as there can be.
fn refused_record() -> StreamRecord {
    StreamRecord {
        exchange: 0,
        listener: "uds".into(),
        peer: Peer::Unix {
            pid: 42,
            uid: 0,
            gid: 0,
        },
        client: None,
        target: None,
        address: None,
        via: None,
        rule: None,
        node: None,
        mode: StreamMode::None,
        verification: VerificationResult::NotApplicable,
        key_exchange: KeyExchange::default(),
        tunnel_tls: TunnelTls::default(),
        warm: false,
        exchange_labels: None,
        status: None,
        bytes: StreamBytes::default(),
        reason: Reason::Protocol,
        side: Side::Downstream,
        phase: Phase::Request,
        detail: Some("request is not a CONNECT".into()),
        ..exec_record(RecordKind::End)
    }
}

#[test]
fn stream_on_a_spare_connection_says_so() {
    let cold = exec_record(RecordKind::End);
    let warm = StreamRecord {
        warm: true,
        ..cold.clone()
    };
    assert!(!text_of(&cold).contains("warm"));
    let text = text_of(&warm);
    assert!(text.contains(r#"},"warm":true,"action":"exec""#), "{text}");
}

#[test]
fn stream_through_an_agent_names_it() {
    let direct = exec_record(RecordKind::End);
    let through = StreamRecord {
        via: Some("edge-1".into()),
        ..direct.clone()
    };
    assert!(!text_of(&direct).contains("via"));
    for (tunnel_tls, field) in [
        (TunnelTls::InnerOnly, r#""tunnelInner":"only""#),
        (TunnelTls::Declined, r#""tunnelInner":"declined""#),
    ] {
        let inner = StreamRecord {
            tunnel_tls,
            ..through.clone()
        };
        assert!(text_of(&inner).contains(field));
        assert!(!text_of(&through).contains("tunnelInner"));
    }
    let text = text_of(&through);
    assert!(
        text.contains(r#""address":"10.0.0.7:10250","via":"edge-1","rule""#),
        "{text}"
    );
}

fn text_of(record: &StreamRecord) -> String {
    let mut out = Vec::new();
    line::append(&mut out, record);
    String::from_utf8(out).unwrap()
}

#[test]
fn line_of_an_exec_end_is_golden() {
    assert_eq!(
        text_of(&exec_record(RecordKind::End)),
        concat!(
            r#"{"time":"2023-11-14T22:13:21.623456Z","kind":"end","#,
            r#""stream":"0c0ffee00001000000000007","#,
            r#""exchange":1,"listener":"mtls","peer":{"address":"10.0.0.1:40000","#,
            r#""identity":"CN=kube-apiserver-egress"},"client":"CN=kube-apiserver-kubelet-client","#,
            r#""node":"worker-3","target":"10.0.0.7:10250","address":"10.0.0.7:10250","#,
            r#""rule":"kubelets","generation":4,"mode":"terminate","verification":"#,
            r#"{"result":"verified","identity":"CN=system:node:worker-3"},"keyExchange":"#,
            r#"{"listener":"CurveP256","downstream":"X25519","upstream":"X25519MLKEM768"},"#,
            r#""action":"exec","#,
            r#""protocol":"SPDY/3.1","namespace":"default","pod":"web","container":"nginx","#,
            r#""status":101,"bytesUp":10,"bytesDown":2000,"durationMs":1500,"reason":"completed","#,
            r#""side":"upstream","phase":"relay"}"#,
            "\n"
        )
    );
}

#[test]
fn line_of_an_exec_start_has_no_end() {
    let text = text_of(&exec_record(RecordKind::Start));
    assert!(
        text.starts_with(r#"{"time":"2023-11-14T22:13:20.123456Z","kind":"start","#),
        "{text}"
    );
    for absent in ["bytesUp", "durationMs", "reason", "side", "phase", "detail"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

#[test]
fn line_of_a_refused_stream_leaves_out_what_is_not_known() {
    assert_eq!(
        text_of(&refused_record()),
        concat!(
            r#"{"time":"2023-11-14T22:13:21.623456Z","kind":"end","#,
            r#""stream":"0c0ffee00001000000000007","#,
            r#""exchange":0,"listener":"uds","peer":{"uid":0,"gid":0,"pid":42},"generation":4,"#,
            r#""mode":"none","bytesUp":0,"bytesDown":0,"durationMs":1500,"reason":"protocol","#,
            r#""side":"downstream","phase":"request","detail":"request is not a CONNECT"}"#,
            "\n"
        )
    );
}

#[test]
fn line_of_hostile_text_is_one_bounded_line() {
    let mut record = refused_record();
    record.detail = Some(format!("a\"\n\u{0}\u{7f}{}", "é".repeat(5000)).into());
    let text = text_of(&record);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.len() < 2048, "{}", text.len());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["detail"].as_str().unwrap().starts_with("a\"\n\u{0}"));
    assert!(value["detail"].as_str().unwrap().ends_with("é..."));
}

#[test]
fn line_about_lost_lines_is_golden() {
    let now = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let text = String::from_utf8(line::lost(now, 12, "disk \"full\"")).unwrap();
    let want = concat!(
        r#"{"time":"2023-11-14T22:13:20.123456Z","kind":"lost","lines":12,"#,
        r#""reason":"disk \"full\""}"#,
        "\n"
    );
    assert_eq!(text, want);
}

#[tokio::test]
async fn run_writes_a_file_of_mode_0600_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (audit, metrics) = open(&path);
    let (sender, receiver) = mpsc::channel(QUEUE);
    sender.send(exec_record(RecordKind::Start)).await.unwrap();
    sender.send(exec_record(RecordKind::End)).await.unwrap();
    drop(sender);
    audit.run(receiver).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let status = metrics.audit.status();
    assert_eq!((status.written, status.failures), (2, 0));
    assert!(metrics.render().unwrap().contains(
        "eyesplice_streams_ended_total{listener=\"mtls\",mode=\"terminate\",action=\"exec\",\
         reason=\"completed\",side=\"upstream\"} 1\n"
    ));
}

/// A request to a front listener.
fn front_record(action: Action, path: ApiPath, user: Option<&str>) -> StreamRecord {
    let record = exec_record(RecordKind::End);
    StreamRecord {
        mode: StreamMode::Front,
        exchange_labels: Some(ExchangeLabels {
            action,
            namespace: None,
            pod: None,
            container: None,
            protocol: None,
            user: user.map(Arc::from),
            path: Some(path),
        }),
        ..record
    }
}

#[test]
fn line_of_a_request_to_a_front_says_whose_it_is_and_how_it_went() {
    let through = ApiPath::Through(Some("not_configured"));
    let text = text_of(&front_record(Action::Logs, through, Some("jane")));
    let want = r#""action":"logs","user":"jane","path":"through","why":"not_configured","status""#;
    assert!(text.contains(want), "{text}");
    let text = text_of(&front_record(Action::Other, ApiPath::Answered, None));
    assert!(
        text.contains(r#""action":"other","path":"answered","status""#),
        "{text}"
    );
}

#[tokio::test]
async fn requests_to_a_front_are_counted_and_only_streams_leave_a_line() {
    for (front_requests, lines) in [(false, 2), (true, 4)] {
        let script = Script::default();
        let (mut audit, metrics) = scripted(&script, OnFailure::Drop);
        audit.front_requests = front_requests;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let through = ApiPath::Through(None);
        let mut upgraded = front_record(Action::Other, through, None);
        if let Some(labels) = &mut upgraded.exchange_labels {
            labels.protocol = Some("websocket");
        }
        for record in [
            front_record(Action::Other, through, Some("jane")),
            front_record(Action::Other, ApiPath::Answered, None),
            front_record(Action::Logs, through, Some("jane")),
            upgraded,
        ] {
            sender.send(record).await.unwrap();
        }
        drop(sender);
        audit.run(receiver).await;
        assert_eq!(metrics.audit.status().written, lines);
        let text = metrics.render().unwrap();
        let count =
            "eyesplice_front_requests_total{path=\"through\",action=\"other\",why=\"none\"} 2\n";
        assert!(text.contains(count), "{text}");
    }
}

#[test]
fn strangers_that_a_front_refuses_are_given_up_first() {
    let stranger = front_record(Action::Exec, ApiPath::Answered, None);
    assert!(matches!(rank(&stranger), Rank::Ordinary));
    let known = front_record(Action::Exec, ApiPath::Answered, Some("jane"));
    assert!(matches!(rank(&known), Rank::Important));
}

#[test]
fn open_names_the_path_and_the_field() {
    let config = config::Audit {
        sink: AuditSink::File("/nonexistent/audit.log".into()),
        on_failure: OnFailure::Drop,
        front_requests: false,
    };
    let error = Audit::open(&config, Metrics::new()).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/audit.log"),
        "{error}"
    );
    assert!(error.to_string().contains("audit.path"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn lines_that_come_one_by_one_are_written_together() {
    let script = Script::default();
    let (audit, metrics) = scripted(&script, OnFailure::Drop);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    for _ in 0..50 {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
        sleep(GATHER / 5).await;
    }
    drop(sender);
    task.await.unwrap();
    assert_eq!(metrics.audit.status().written, 50);
    // Five lines of 560 bytes together, in writes of 4 KiB at most.
    let writes = script.writes();
    assert!((2..=12).contains(&writes), "{writes} writes");
}

#[tokio::test]
async fn full_disk_loses_nothing_and_writes_each_line_once() {
    let script = Script::with_room(1000);
    let (audit, metrics) = scripted(&script, OnFailure::Drop);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    for _ in 0..50 {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
    }
    until(|| metrics.audit.status().failures >= 2).await;
    script.give_room();
    drop(sender);
    task.await.unwrap();
    let text = script.file(0);
    assert_eq!(text, text_of(&exec_record(RecordKind::End)).repeat(50));
    let status = metrics.audit.status();
    assert_eq!((status.written, status.lost), (50, 0));
}

#[tokio::test]
async fn reopen_after_rotation_goes_on_in_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (audit, metrics) = open(&path);
    let reopen = audit.reopen();
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    sender.send(exec_record(RecordKind::Start)).await.unwrap();
    until(|| metrics.audit.status().written == 1).await;
    std::fs::rename(&path, dir.path().join("audit.log.1")).unwrap();
    reopen.request();
    until(|| path.exists()).await;
    sender.send(exec_record(RecordKind::End)).await.unwrap();
    drop(sender);
    task.await.unwrap();
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains(r#""kind":"end""#)
    );
    let rotated = std::fs::read_to_string(dir.path().join("audit.log.1")).unwrap();
    assert!(rotated.contains(r#""kind":"start""#));
}

#[tokio::test]
async fn reader_that_stalls_costs_counted_lines_and_never_those_of_streams_that_ran() {
    let script = Script::default();
    script.stall(true);
    let (audit, metrics) = scripted(&script, OnFailure::Drop);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let gate = audit.gate(&sender);
    let task = tokio::spawn(audit.run(receiver));
    let line = text_of(&refused_record()).len();
    let total = AUDIT_ROOM / line + 1000;
    for _ in 0..total {
        sender.send(refused_record()).await.unwrap();
    }
    sender.send(exec_record(RecordKind::Start)).await.unwrap();
    until(|| metrics.audit.status().lines + metrics.audit.status().lost == total as u64 + 1).await;
    let status = metrics.audit.status();
    assert!(status.lost >= 1000 - BATCH as u64, "{status:?}");
    assert!(status.bytes <= AUDIT_ROOM + AUDIT_RESERVE, "{status:?}");
    assert_eq!(
        gate.refusal(RecordKind::Start),
        None,
        "drop refuses nothing"
    );
    assert!(matches!(gate.condition(), Condition::Noted(_)));
    script.stall(false);
    drop(sender);
    task.await.unwrap();
    let text = script.file(0);
    assert_eq!(text.matches(r#""kind":"start""#).count(), 1);
    assert_eq!(text.matches(r#""kind":"lost""#).count(), 1);
    let told = format!(r#""kind":"lost","lines":{},"#, status.lost);
    assert!(text.contains(&told), "{told}");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn block_refuses_streams_once_the_room_is_used_and_takes_them_again() {
    let script = Script::with_room(0);
    let (audit, metrics) = scripted(&script, OnFailure::Block);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let gate = audit.gate(&sender);
    let task = tokio::spawn(audit.run(receiver));
    assert_eq!(gate.condition(), Condition::Good);
    let line = text_of(&exec_record(RecordKind::End)).len();
    let total = AUDIT_ROOM / line + 1000;
    for _ in 0..total {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
    }
    until(|| metrics.audit.status().lines == total as u64).await;
    let words = gate.refusal(RecordKind::End).expect("refused");
    for part in [
        "audit log audit.log has taken no lines",
        "no storage space",
        "audit.onFailure",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(matches!(gate.condition(), Condition::Failed(_)));
    // Who runs keeps its line.
    sender.send(exec_record(RecordKind::End)).await.unwrap();
    script.give_room();
    until(|| gate.refusal(RecordKind::Start).is_none()).await;
    drop(sender);
    task.await.unwrap();
    let status = metrics.audit.status();
    assert_eq!((status.lost, status.written), (0, total as u64 + 1));
}

#[tokio::test]
async fn block_refuses_streams_while_control_is_behind() {
    let (audit, _) = scripted(&Script::default(), OnFailure::Block);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let gate = audit.gate(&sender);
    for _ in 0..QUEUE - QUEUE / 4 {
        sender.send(refused_record()).await.unwrap();
    }
    assert_eq!(gate.refusal(RecordKind::End), None);
    sender.send(refused_record()).await.unwrap();
    assert!(gate.refusal(RecordKind::End).is_some());
    drop(sender);
    audit.run(receiver).await;
    assert_eq!(gate.refusal(RecordKind::End), None);
}

async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .expect("condition in 60 s");
}
