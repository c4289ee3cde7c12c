//! Old and new in one process: what passes between them, and what becomes of a conversation that
//! fails.

use super::channel::Channel;
use super::message::{ANSWER, Asked, Message, VERSION};
use super::*;
use crate::metrics::Metrics;
use eyesplice_sys::socket::{MAX_RIGHTS, connect_messages, listen_tcp_group, tcp_place};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A process that serves, its meeting, and what it reports to.
struct Bed {
    directory: tempfile::TempDir,
    address: SocketAddr,
    reported: Reported,
    metrics: Arc<Metrics>,
    old: Offer,
}

impl Bed {
    async fn new(sockets: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let group = listen_tcp_group(any, sockets, 16).unwrap();
        let named = |fd: OwnedFd| (tcp_place(fd.as_fd()).unwrap(), fd);
        let group: Vec<_> = group.into_iter().map(named).collect();
        let Place::Tcp(address) = group[0].0 else {
            panic!("no TCP");
        };
        let metrics = Metrics::new();
        let reported = Reported {
            readiness: Arc::default(),
            metrics: metrics.takeovers.clone(),
        };
        let meeting = meeting(&directory);
        let first = Succession::begin(meeting, Vec::new(), false).await.unwrap();
        let old = first.complete(group, &reported.metrics).await.unwrap();
        Self {
            directory,
            address,
            reported,
            metrics,
            old,
        }
    }

    async fn channel(&self) -> Channel {
        let path = self.directory.path().join("in/gateway.sock");
        Channel::new(connect_messages(&path).unwrap()).unwrap()
    }

    fn count(&self, result: &str) -> String {
        let name = format!("eyesplice_takeovers_total{{result=\"{result}\"}} ");
        let text = self.metrics.render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap().to_owned()
    }
}

fn meeting(directory: &tempfile::TempDir) -> Option<Meeting> {
    Meeting::of(Some(directory.path().join("in")), "gateway")
}

#[tokio::test]
async fn sockets_pass_on_and_on_more_than_one_message_can_carry() {
    let mut bed = Bed::new(MAX_RIGHTS + 2).await;
    for _ in 0..3 {
        let new = async {
            let begun = Succession::begin(meeting(&bed.directory), Vec::new(), true).await;
            let mut new = begun.unwrap();
            assert!(new.has_predecessor());
            let taken = new.inherited().take_tcp(bed.address);
            assert_eq!(taken.len(), MAX_RIGHTS + 2);
            let named = |fd: OwnedFd| (tcp_place(fd.as_fd()).unwrap(), fd);
            let sockets = taken.into_iter().map(named).collect();
            new.complete(sockets, &bed.reported.metrics).await.unwrap()
        };
        let (successor, new) = tokio::join!(bed.old.taken(&bed.reported), new);
        assert_eq!(successor.pid, i32::try_from(std::process::id()).unwrap());
        bed.old = new;
    }
    assert_eq!(bed.count("completed"), "3");
    assert_eq!(bed.count("failed"), "0");
    let still = std::net::TcpStream::connect(bed.address);
    assert!(still.is_ok(), "{still:?}");
}

#[tokio::test]
async fn process_that_ends_before_it_is_ready_leaves_the_old_one_as_it_was() {
    let mut bed = Bed::new(1).await;
    let reported = bed.reported.clone();
    let failing = async {
        let new = Succession::begin(meeting(&bed.directory), Vec::new(), true).await;
        assert!(!new.unwrap().inherited.is_empty());
        // It has the sockets, and ends.
    };
    let then = async {
        failing.await;
        Succession::begin(meeting(&bed.directory), Vec::new(), true)
            .await
            .unwrap()
            .complete(Vec::new(), &reported.metrics)
            .await
            .unwrap()
    };
    let (_, next) = tokio::join!(bed.old.taken(&bed.reported), then);
    drop(next);
    assert_eq!(bed.count("failed"), "1");
    let noted = format!("{:?}", bed.reported.readiness);
    assert!(noted.contains("it ended before it was ready"), "{noted}");
}

#[tokio::test]
async fn process_of_another_version_is_refused_and_hears_why() {
    let mut bed = Bed::new(1).await;
    let channel = bed.channel().await;
    let ask = Message::Ask {
        version: VERSION + 1,
        what: Asked::Sockets,
        program: "later".to_owned(),
    };
    channel.send(&ask, &[], ANSWER).await.unwrap();
    let answer = tokio::select! {
        _ = bed.old.taken(&bed.reported) => panic!("it was taken over"),
        answer = channel.receive(ANSWER) => answer.unwrap().unwrap(),
    };
    let (Message::Refused { why }, fds) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("version 1"), "{why}");
    assert!(fds.is_empty());
    assert_eq!(bed.count("refused"), "1");
}

#[tokio::test]
async fn message_that_is_none_ends_the_conversation_alone() {
    let mut bed = Bed::new(1).await;
    for garbage in [&b"{}"[..], b"\xff\x00", br#"{"message":"ready"}"#] {
        let path = bed.directory.path().join("in/gateway.sock");
        let fd = connect_messages(&path).unwrap();
        eyesplice_sys::socket::give(fd.as_fd(), garbage, &[]).unwrap();
        let channel = Channel::new(fd).unwrap();
        let answer = tokio::select! {
            _ = bed.old.taken(&bed.reported) => panic!("it was taken over"),
            answer = channel.receive(ANSWER) => answer,
        };
        assert!(matches!(answer, Ok(None) | Err(_)), "{answer:?}");
    }
    assert_eq!(bed.count("failed"), "3");
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Succession::begin(meeting(&directory), Vec::new(), true).await;
    let error = begun.unwrap_err();
    assert!(error.to_string().contains("without --takeover"), "{error}");
    let begun = Succession::begin(None, Vec::new(), true).await;
    assert!(matches!(begun, Err(TakeoverError::NoMeeting)));
}

#[tokio::test]
async fn socket_that_the_service_manager_kept_is_used_where_it_is_wanted() {
    let kept = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = kept.local_addr().unwrap();
    let closed = other.local_addr().unwrap();
    let passed = [kept, other].map(|listener| {
        let fd = OwnedFd::from(listener.into_std().unwrap());
        (tcp_place(fd.as_fd()).unwrap().name().unwrap(), fd)
    });
    let mut succession = Succession::begin(None, passed.into(), false).await.unwrap();
    assert!(!succession.has_predecessor());
    succession.keep_only(Wanted {
        addresses: vec![address],
        paths: Vec::new(),
    });
    assert!(std::net::TcpStream::connect(closed).is_err());
    let taken = crate::listen::tcp_from(succession.inherited(), address).await;
    assert_eq!(taken.unwrap().1, address);
}
