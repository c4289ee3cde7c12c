//! A gateway takes over from one that runs: nobody is refused, streams go on where they are, and
//! what goes wrong changes nothing for the one that runs.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;
mod load;

use child::{EYESPLICE, Running, get, kernel_can};
use load::{Addresses, Clients, Site, exchange, over_tcp, over_unix, restarts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

/// What a new gateway says when the one before it drains.
const TOOK_OVER: &str = "took over; the process before this one drains";

fn meets(site: &Site) -> impl FnOnce(&mut Command) {
    let directory = site.path("handover");
    move |command| {
        command.arg("--handover-dir").arg(directory);
    }
}

/// Starts a gateway that takes over.
fn successor(site: &Site, config: &str) -> Running {
    let mut command = site.gateway(config);
    command.arg("--takeover");
    meets(site)(&mut command);
    Running::of(&mut command)
}

fn failed(site: &Site, config: &str, directory: &str) -> Output {
    let output = Command::new(EYESPLICE)
        .args(["gateway", "--takeover", "--config"])
        .arg(site.path(config))
        .arg("--handover-dir")
        .arg(site.path(directory))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    output
}

fn metric(addresses: &Addresses, line: &str) -> bool {
    let metrics = get(&addresses.admin, "/metrics");
    metrics.lines().any(|each| each == line)
}

#[test]
fn nobody_is_refused_while_gateways_follow_one_another_and_a_live_stream_goes_on() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let (mut first, addresses) = site.first(meets(&site));
    first.event("a new process can take over");
    let mut live_unix = over_unix(&addresses.unix, site.echo).unwrap();
    let mut live_tcp = over_tcp(addresses.tcp).unwrap();
    exchange(&mut live_unix, 0).unwrap();
    exchange(&mut live_tcp, 0).unwrap();
    let clients = Clients::start(&addresses, site.echo);
    let mut current: Option<Running> = None;
    for turn in 0..restarts() {
        clients.more();
        // Another number of workers is another configuration.
        let workers = 1 + turn % 3;
        let tcp = addresses.tcp.to_string();
        site.configure("fixed.yaml", &tcp, &addresses.admin, workers);
        let next = successor(&site, "fixed.yaml");
        next.event(TOOK_OVER);
        if let Some(mut before) = current.replace(next) {
            assert!(before.wait().success());
        }
        exchange(&mut live_unix, turn as u64).unwrap();
        exchange(&mut live_tcp, turn as u64).unwrap();
        assert!(get(&addresses.admin, "/readyz").starts_with("HTTP/1.1 200 "));
    }
    clients.more();
    assert!(metric(
        &addresses,
        "eyesplice_takeovers_total{result=\"completed\"} 1"
    ));
    let served = clients.stop();
    drop((live_unix, live_tcp));
    assert!(first.wait().success());
    let mut last = current.unwrap();
    last.signal(Signal::SIGTERM);
    assert!(last.wait().success());
    assert!(!addresses.unix.exists(), "the last one removes the socket");
    // The two that lived all along, and each of the others, by whichever gateway it went.
    assert_eq!(site.ended_streams(), served + 2);
}

#[test]
fn gateway_that_does_not_become_ready_leaves_the_one_that_runs_as_it_was() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let (mut first, addresses) = site.first(meets(&site));
    first.event("a new process can take over");
    let clients = Clients::start(&addresses, site.echo);
    // Not valid: it never asks.
    fs::write(site.path("broken.yaml"), "kind: Nonsense").unwrap();
    failed(&site, "broken.yaml", "handover");
    // Valid, and with a path that cannot be listened on, and another mode: it has the sockets by
    // then.
    let fixed = fs::read_to_string(site.path("fixed.yaml")).unwrap();
    let broken = fixed.replace(
        "- name: nodes",
        "- name: other\n  unix: {path: missing/other.sock, mode: '0600'}\n- name: nodes",
    );
    assert_ne!(broken, fixed);
    let broken = broken.replace("egress.sock, mode: '0600'", "egress.sock, mode: '0660'");
    fs::write(site.path("broken.yaml"), broken).unwrap();
    let output = failed(&site, "broken.yaml", "handover");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("missing"), "{stderr}");
    first.event("a new process did not take over; this one goes on");
    clients.more();
    let mode = fs::metadata(&addresses.unix).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "as it was");
    assert!(metric(
        &addresses,
        "eyesplice_takeovers_total{result=\"failed\"} 1"
    ));
    let ready = get(&addresses.admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(ready.contains("a new process did not take over"), "{ready}");
    // The next one can.
    let mut next = successor(&site, "fixed.yaml");
    next.event(TOOK_OVER);
    assert!(first.wait().success());
    clients.more();
    clients.stop();
    next.signal(Signal::SIGTERM);
    assert!(next.wait().success());
}

#[test]
fn sockets_that_another_configuration_does_not_want_are_closed_and_others_are_bound() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let (mut first, addresses) = site.first(meets(&site));
    first.event("a new process can take over");
    site.configure("other.yaml", "127.0.0.1:0", &addresses.admin, 2);
    let other = fs::read_to_string(site.path("other.yaml")).unwrap();
    let other = other.replace("egress.sock, mode: '0600'", "egress.sock, mode: '0660'");
    fs::write(site.path("other.yaml"), other).unwrap();
    let next = successor(&site, "other.yaml");
    let closed =
        next.event("inherited socket is closed: no listener of the configuration is there");
    let name = closed["socket"].as_str().unwrap();
    assert!(name.starts_with("tcp=127.0.0.1%3a"), "{name}");
    let tcp = next.address("listens for API servers");
    assert_ne!(tcp, addresses.tcp.to_string());
    next.event(TOOK_OVER);
    assert!(first.wait().success());
    assert!(over_tcp(addresses.tcp).is_err());
    exchange(&mut over_tcp(tcp.parse().unwrap()).unwrap(), 7).unwrap();
    exchange(&mut over_unix(&addresses.unix, site.echo).unwrap(), 7).unwrap();
    let mode = fs::metadata(&addresses.unix).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn process_of_another_user_is_refused_and_without_one_that_runs_there_is_nothing_to_take() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let output = failed_before(&site);
    assert!(output.contains("start one without --takeover"), "{output}");
    let (first, addresses) = site.first(meets(&site));
    first.event("a new process can take over");
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    // The directory keeps others out; this is about what is behind it.
    let open =
        |path: &str, mode| fs::set_permissions(site.path(path), Permissions::from_mode(mode));
    open("", 0o711).unwrap();
    open("handover", 0o711).unwrap();
    open("handover/gateway.sock", 0o666).unwrap();
    let stranger = Command::new("python3")
        .args(["-c", STRANGER])
        .arg(site.path("handover/gateway.sock"))
        .output()
        .unwrap();
    assert!(stranger.status.success(), "{stranger:?}");
    let answer = String::from_utf8(stranger.stdout).unwrap();
    assert!(answer.contains("it is of another user"), "{answer}");
    assert!(answer.ends_with(" 0\n"), "descriptors came: {answer}");
    first.event("a process of another user asked for the sockets; refused");
    assert!(metric(
        &addresses,
        "eyesplice_takeovers_total{result=\"refused\"} 1"
    ));
}

fn failed_before(site: &Site) -> String {
    site.configure("free.yaml", "127.0.0.1:0", "127.0.0.1:0", 2);
    let output = failed(site, "free.yaml", "handover");
    String::from_utf8(output.stderr).unwrap()
}

/// Asks as nobody, and prints the answer and how many descriptors came with it.
const STRANGER: &str = r#"
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.send(b'{"message":"ask","version":1,"what":"sockets","program":"x"}')
answer, fds, _, _ = socket.recv_fds(s, 65536, 253)
print(answer.decode(), len(fds))
"#;

#[test]
fn upgrade_reloads_the_same_binary_and_has_another_one_take_over() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let (mut first, addresses) = site.first(meets(&site));
    first.event("a new process can take over");
    let upgrade = |program: &std::path::Path| {
        Command::new(program)
            .args(["gateway", "--upgrade", "--log-format", "json", "--config"])
            .arg(site.path("fixed.yaml"))
            .arg("--handover-dir")
            .arg(site.path("handover"))
            .stdin(Stdio::null())
            // A file: the gateway that it starts has it, too, and stays.
            .stdout(File::create(site.path("said")).unwrap())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    };
    assert!(upgrade(EYESPLICE.as_ref()).success());
    first.event("audit log reopened");
    let clients = Clients::start(&addresses, site.echo);
    clients.more();
    let other = site.path("eyesplice");
    // By another process: one of ours that starts meanwhile would have it open for writing.
    let copied = Command::new("cp").arg(EYESPLICE).arg(&other).status();
    assert!(copied.unwrap().success());
    assert!(upgrade(&other).success());
    let said = fs::read_to_string(site.path("said")).unwrap();
    let pid = said
        .strip_prefix("process ")
        .and_then(|rest| rest.split(' ').next());
    let _stopped = Stopped(Pid::from_raw(pid.unwrap().parse().unwrap()));
    assert!(first.wait().success());
    clients.more();
    clients.stop();
    // One that cannot start fails the command.
    let fixed = fs::read_to_string(site.path("fixed.yaml")).unwrap();
    fs::write(site.path("fixed.yaml"), "kind: Nonsense").unwrap();
    assert_eq!(upgrade(EYESPLICE.as_ref()).code(), Some(1));
    fs::write(site.path("fixed.yaml"), fixed).unwrap();
    exchange(&mut over_tcp(addresses.tcp).unwrap(), 1).unwrap();
}

/// Ends a process that is not a child of the test.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill(self.0, Signal::SIGTERM);
    }
}
