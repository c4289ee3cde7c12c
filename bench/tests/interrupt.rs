//! A comparison that is interrupted leaves no proxy behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// It never carries a stream and does not heed the end of its input, so that only a signal ends it.
const PROXY: &str = "idle=tcp:127.0.0.1:{port}=sleep 600";

/// The proxies among the processes that any thread of a process has started: it runs git, too.
fn proxies(of: u32) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{of}/task"));
    let lists = threads.into_iter().flatten().filter_map(|thread| {
        let list = thread.ok()?.path().join("children");
        std::fs::read_to_string(list).ok()
    });
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter(|pid| is_proxy(pid));
            let pids = pids.filter_map(|pid| pid.parse().ok());
            pids.map(Pid::from_raw).collect::<Vec<_>>()
        })
        .collect()
}

fn is_proxy(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
}

#[test]
fn proxies_end_with_a_comparison_that_is_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_eyesplice-load"))
            .args(["ab", "--rounds", "1", "--duration", "60s"])
            .args(["--proxy", PROXY, "--work", "--workload rr --connections 1"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let proxies = loop {
            let started = proxies(harness.id());
            if !started.is_empty() || Instant::now() > until {
                break started;
            }
            yield_now();
        };
        kill(Pid::from_raw(harness.id().try_into().unwrap()), signal).unwrap();
        let ended = harness.wait().unwrap();
        assert!(!proxies.is_empty());
        // Ended here if it has not been, since nobody else would.
        let left: Vec<_> = proxies
            .iter()
            .filter(|proxy| kill(**proxy, Signal::SIGKILL).is_ok())
            .collect();
        assert!(left.is_empty(), "{signal} left {left:?}");
        assert_eq!(ended.code(), Some(1), "{signal}");
    }
}
