//! `eyesplice gateway` under low limits of the system: few descriptors, little locked memory.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown, geteuid};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock, mode: '0600'}
egress:
  rules:
  - {name: pods, cidrs: [10.0.0.0/8], action: splice}
engine: {workers: WORKERS, io: IO}
admin: {address: '127.0.0.1:0'}
audit: {path: audit.log}
";

fn write_config(dir: &Path, workers: usize) {
    write_config_with(dir, workers, "io_uring");
}

fn write_config_with(dir: &Path, workers: usize, io: &str) {
    let config = CONFIG.replace("WORKERS", &workers.to_string());
    std::fs::write(dir.join("gateway.yaml"), config.replace("IO", io)).unwrap();
}

/// A directory of this user with a configuration.
fn site_of(uid: Uid, workers: usize, io: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_config_with(dir.path(), workers, io);
    for path in [dir.path(), &dir.path().join("gateway.yaml")] {
        chown(path, Some(uid), Some(Gid::from_raw(uid.as_raw()))).unwrap();
    }
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    dir
}

/// A program under other limits; `None`, said aloud, where this machine has no util-linux.
fn limited(limits: &[String]) -> Option<Command> {
    let mut command = Command::new("prlimit");
    let present = Command::new("prlimit").arg("--version").output().is_ok();
    if !present {
        eprintln!("SKIPPED: there is no prlimit(1) here");
        return None;
    }
    command.args(limits);
    Some(command)
}

/// Users of one test process: locked memory is counted for each user, over all of its processes.
const USERS: u32 = 16;

static NEXT_USER: AtomicU32 = AtomicU32::new(0);

/// The same as a user without capabilities, of whom nobody else is.
fn ordinary(limits: &[String]) -> Option<(Command, Uid)> {
    let mut command = limited(limits)?;
    if !geteuid().is_root() {
        return Some((command, geteuid()));
    }
    let uid = 1_000_000 + std::process::id() * USERS + NEXT_USER.fetch_add(1, Relaxed) % USERS;
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no setpriv(1) here");
        return None;
    }
    command
        .args([
            "setpriv",
            "--reuid",
            &uid.to_string(),
            "--regid",
            &uid.to_string(),
        ])
        .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    Some((command, Uid::from_raw(uid)))
}

fn memory(kib: u64) -> [String; 1] {
    let bytes = kib * 1024;
    [format!("--memlock={bytes}:{bytes}")]
}

#[test]
fn gateway_with_few_descriptors_lowers_its_streams_and_stays_in_hand() {
    if !kernel_can() {
        return;
    }
    let Some(mut command) = limited(&["--nofile=90:90".to_owned()]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), 2);
    let mut running = Running::of(
        command
            .args([EYESPLICE, "gateway", "--log-format", "json", "--config"])
            .arg(dir.path().join("gateway.yaml")),
    );
    let admin = running.address("admin endpoint listens");
    running.event("engine runs");
    let ready = get(&admin, "/readyz?verbose");
    assert!(
        ready.contains("[+]descriptors ok, but: limits.maxStreams is"),
        "{ready}"
    );
    let metrics = get(&admin, "/metrics");
    let streams: u64 = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"eyesplice_limit{limit="streams",state="in_force"} "#))
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..40).contains(&streams), "{streams}");
    assert!(
        metrics.contains(r#"eyesplice_limit{limit="streams",state="configured"} 20000"#),
        "{metrics}"
    );

    // Far more than there are descriptors: all are taken, and most are closed at once.
    let mut held: Vec<UnixStream> = (0..300)
        .map(|_| {
            let stream = UnixStream::connect(dir.path().join("egress.sock")).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "connections stay in the backlog");
        held.retain_mut(|stream| match stream.read(&mut [0]) {
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => false,
        });
        if held.len() < 45 {
            break;
        }
        std::thread::yield_now();
    }
    let metrics = get(&admin, "/metrics");
    assert!(
        metrics.contains("eyesplice_accept_errors_total 0"),
        "{metrics}"
    );
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
    running.signal(Signal::SIGHUP);
    running.event("configuration reloaded; in force for new streams");
    drop(held);
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
}

/// Runs a command of ours to its end.
fn run(mut command: Command, arguments: &[&str]) -> Output {
    command.arg(EYESPLICE).args(arguments).output().unwrap()
}

#[test]
fn gateway_without_locked_memory_for_a_ring_names_the_limit_and_may_be_started_again() {
    if !kernel_can() {
        return;
    }
    let Some((command, _)) = ordinary(&memory(64)) else {
        return;
    };
    let probe = run(command, &["probe"]);
    let table = String::from_utf8(probe.stdout).unwrap();
    if probe.status.success() {
        eprintln!("SKIPPED: rings do not count against RLIMIT_MEMLOCK on this kernel");
        return;
    }
    assert_eq!(probe.status.code(), Some(1), "{table}");
    for part in [
        "84 KiB",
        "64 KiB",
        "RLIMIT_MEMLOCK",
        "LimitMEMLOCK",
        "a limit is too low",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (command, uid) = ordinary(&memory(64)).unwrap();
    let dir = site_of(uid, 1, "io_uring");
    let file = dir.path().join("gateway.yaml");
    let gateway = run(command, &["gateway", "--config", file.to_str().unwrap()]);
    let log = String::from_utf8(gateway.stderr).unwrap();
    assert_eq!(gateway.status.code(), Some(1), "{log}");
    for part in ["LimitMEMLOCK", "`engine.io: epoll`"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn gateway_without_locked_memory_for_a_ring_runs_with_epoll_if_it_may() {
    if !kernel_can() {
        return;
    }
    let Some((mut command, uid)) = ordinary(&memory(64)) else {
        return;
    };
    let dir = site_of(uid, 2, "auto");
    let mut running = Running::of(
        command
            .stdin(Stdio::null())
            .args([EYESPLICE, "gateway", "--log-format", "json", "--config"])
            .arg(dir.path().join("gateway.yaml")),
    );
    let runs = running.event("engine runs");
    assert_eq!(runs["workers"], 2, "{runs}");
    if runs["io"] == "io_uring" {
        eprintln!("SKIPPED: rings do not count against RLIMIT_MEMLOCK on this kernel");
    } else {
        assert_eq!(runs["io"], "epoll", "{runs}");
        let denied = runs["io_uring_denied"].as_str().unwrap();
        assert!(denied.contains("LimitMEMLOCK"), "{runs}");
    }
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
}

#[test]
fn gateway_with_locked_memory_for_some_rings_runs_with_fewer_workers() {
    if !kernel_can() {
        return;
    }
    let Some((mut command, uid)) = ordinary(&memory(200)) else {
        return;
    };
    let dir = site_of(uid, 16, "io_uring");
    let mut running = Running::of(
        command
            .stdin(Stdio::null())
            .args([EYESPLICE, "gateway", "--log-format", "json", "--config"])
            .arg(dir.path().join("gateway.yaml")),
    );
    let admin = running.address("admin endpoint listens");
    let runs = running.event("engine runs");
    let workers = runs["workers"].as_u64().unwrap();
    if workers == 16 {
        eprintln!("SKIPPED: rings do not count against RLIMIT_MEMLOCK on this kernel");
    } else {
        assert_eq!(workers, 2, "{runs}");
    }
    // It goes on, and does not take the workers that it never had for dead.
    let deadline = Instant::now() + PATIENCE;
    while !get(&admin, "/readyz").starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "not ready");
    }
    running.signal(Signal::SIGTERM);
    let draining = running.event("draining; a second signal closes all streams at once");
    assert_eq!(draining["signal"], "SIGTERM", "{draining}");
    assert!(running.wait().success());
}

#[test]
fn shipped_units_have_memory_for_a_thousand_workers_twice_and_write_no_core() {
    for unit in [
        include_str!("../dist/eyesplice-gateway.service"),
        include_str!("../dist/eyesplice-agent.service"),
    ] {
        let value = |name: &str| {
            let prefix = format!("{name}=");
            unit.lines()
                .find_map(|line| line.strip_prefix(&prefix))
                .unwrap_or_else(|| panic!("no {name}"))
        };
        let mib: u64 = value("LimitMEMLOCK")
            .strip_suffix('M')
            .unwrap()
            .parse()
            .unwrap();
        let ring = eyesplice_sys::uring::UringConfig::default().locked_bytes();
        assert!(mib << 20 >= 2 * 1024 * ring, "{mib} MiB");
        assert_eq!(value("LimitCORE"), "0");
    }
}
