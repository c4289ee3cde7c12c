//! Lines, retries, rotation and loss, without a real disk fault.

use super::sink::Sink;
use super::*;
use eyesplice_dataplane::seam::{
    ExchangeLabels, Peer, Phase, Reason, Side, StreamBytes, StreamId, StreamMode,
    VerificationResult,
};
use eyesplice_proto::route::Action;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

/// A sink that takes what a test lets it take.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<Scripted>>);

#[derive(Debug, Default)]
struct Scripted {
    /// Bytes that the "disk" still takes; none is unlimited.
    room: Option<usize>,
    files: Vec<Vec<u8>>,
    writes: usize,
}

impl Script {
    fn with_room(room: usize) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().room = Some(room);
        script
    }

    fn give_room(&self) {
        self.0.lock().unwrap().room = None;
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut scripted = self.0.lock().unwrap();
        scripted.writes += 1;
        let count = scripted.room.unwrap_or(usize::MAX).min(bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        scripted.room = scripted.room.map(|room| room - count);
        if scripted.files.is_empty() {
            scripted.files.push(Vec::new());
        }
        scripted
            .files
            .last_mut()
            .unwrap()
            .extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        self.0.lock().unwrap().files.push(Vec::new());
        Ok(())
    }

    fn file(&self, index: usize) -> String {
        let scripted = self.0.lock().unwrap();
        String::from_utf8(scripted.files.get(index).cloned().unwrap_or_default()).unwrap()
    }
}

fn scripted(script: &Script) -> (Audit, Arc<Metrics>) {
    let metrics = Metrics::new();
    let writer = Writer::new(Sink::Scripted(script.clone()), Arc::clone(&metrics));
    let audit = Audit {
        writer,
        metrics: Arc::clone(&metrics),
        reopen: Reopen::default(),
    };
    (audit, metrics)
}

/// An exec through a terminated connection, with every fact present.
pub(crate) fn exec_record(kind: RecordKind) -> StreamRecord {
    StreamRecord {
        kind,
        id: StreamId::new(1, 7),
        exchange: 1,
        listener: "mtls".into(),
        peer: Peer::Tcp {
            address: "10.0.0.1:40000".parse().unwrap(),
            identity: Some("CN=kube-apiserver-egress".into()),
        },
        client: Some("CN=kube-apiserver-kubelet-client".into()),
        target: Some("10.0.0.7:10250".parse().unwrap()),
        address: Some("10.0.0.7:10250".parse().unwrap()),
        rule: Some("kubelets".into()),
        node: Some("worker-3".into()),
        generation: 4,
        mode: StreamMode::TerminateKubelet,
        verification: VerificationResult::Verified("CN=system:node:worker-3".into()),
        exchange_labels: Some(ExchangeLabels {
            action: Action::Exec,
            namespace: Some("default".into()),
            pod: Some("web".into()),
            container: Some("nginx".into()),
            protocol: Some("SPDY/3.1"),
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
        rule: None,
        node: None,
        mode: StreamMode::None,
        verification: VerificationResult::NotApplicable,
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
            r#"{"time":"2023-11-14T22:13:21.623456Z","kind":"end","stream":"0001000000000007","#,
            r#""exchange":1,"listener":"mtls","peer":{"address":"10.0.0.1:40000","#,
            r#""identity":"CN=kube-apiserver-egress"},"client":"CN=kube-apiserver-kubelet-client","#,
            r#""node":"worker-3","target":"10.0.0.7:10250","address":"10.0.0.7:10250","#,
            r#""rule":"kubelets","generation":4,"mode":"terminate","verification":"#,
            r#"{"result":"verified","identity":"CN=system:node:worker-3"},"action":"exec","#,
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
            r#"{"time":"2023-11-14T22:13:21.623456Z","kind":"end","stream":"0001000000000007","#,
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

#[tokio::test]
async fn run_writes_a_file_of_mode_0600_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let metrics = Metrics::new();
    let audit = Audit::open(&AuditSink::File(path.clone()), Arc::clone(&metrics)).unwrap();
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
    assert_eq!(metrics.audit.written.get(), 2);
    assert_eq!(metrics.audit.failed.get(), 0);
    assert!(metrics.render().unwrap().contains(
        "eyesplice_streams_ended_total{listener=\"mtls\",mode=\"terminate\",action=\"exec\",\
         reason=\"completed\",side=\"upstream\"} 1\n"
    ));
}

#[test]
fn open_names_the_path_and_the_field() {
    let target = AuditSink::File("/nonexistent/audit.log".into());
    let error = Audit::open(&target, Metrics::new()).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/audit.log"),
        "{error}"
    );
    assert!(error.to_string().contains("audit.path"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn lines_that_come_one_by_one_are_written_together() {
    let script = Script::default();
    let (audit, metrics) = scripted(&script);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    for _ in 0..50 {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
        sleep(GATHER / 5).await;
    }
    drop(sender);
    task.await.unwrap();
    assert_eq!(metrics.audit.written.get(), 50);
    let writes = script.0.lock().unwrap().writes;
    assert!((2..=12).contains(&writes), "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn full_disk_loses_nothing_and_writes_each_line_once() {
    let script = Script::with_room(1000);
    let (audit, metrics) = scripted(&script);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    for _ in 0..50 {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
    }
    while metrics.audit.failed.get() < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    script.give_room();
    drop(sender);
    task.await.unwrap();
    let text = script.file(0);
    assert_eq!(text, text_of(&exec_record(RecordKind::End)).repeat(50));
    assert_eq!(metrics.audit.written.get(), 50);
    assert_eq!(metrics.audit.lost.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn reopen_after_a_cut_line_writes_it_whole_to_the_new_file() {
    let script = Script::with_room(700);
    let (audit, metrics) = scripted(&script);
    let reopen = audit.reopen();
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    sender.send(exec_record(RecordKind::End)).await.unwrap();
    sender.send(exec_record(RecordKind::End)).await.unwrap();
    while metrics.audit.failed.get() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    script.give_room();
    reopen.request();
    while metrics.audit.written.get() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    drop(sender);
    task.await.unwrap();
    let line = text_of(&exec_record(RecordKind::End));
    assert!(
        line.len() < 700 && 2 * line.len() > 700,
        "the second line is the one that is cut"
    );
    assert_eq!(script.file(0).len(), 700);
    assert_eq!(script.file(1), line);
}

#[tokio::test]
async fn reopen_after_rotation_goes_on_in_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let metrics = Metrics::new();
    let audit = Audit::open(&AuditSink::File(path.clone()), Arc::clone(&metrics)).unwrap();
    let reopen = audit.reopen();
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    sender.send(exec_record(RecordKind::Start)).await.unwrap();
    until(|| metrics.audit.written.get() == 1).await;
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

#[tokio::test(start_paused = true)]
async fn target_that_stays_full_loses_counted_lines_and_ends() {
    let script = Script::with_room(0);
    let (audit, metrics) = scripted(&script);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(audit.run(receiver));
    let line = text_of(&exec_record(RecordKind::End)).len();
    let total = MAX_UNWRITTEN / line + 100;
    for _ in 0..total {
        sender.send(exec_record(RecordKind::End)).await.unwrap();
    }
    drop(sender);
    task.await.unwrap();
    assert_eq!(metrics.audit.written.get(), 0);
    assert_eq!(metrics.audit.lost.get(), total as u64);
    assert!(metrics.audit.failed.get() > 0);
}

async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .expect("condition in 20 s");
}
