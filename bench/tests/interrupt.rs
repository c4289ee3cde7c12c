//! A comparison that is interrupted leaves no proxy behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::yield_now;
use std::time::{Duration, Instant};

const PROXY: &str = "bare=connect-unix:{dir}/egress.sock={self} proxy --kind bare --socket {dir}/egress.sock --identity {certs} --suite aes128 --core {cores}";

/// The processes that any thread of a process has started and not yet reaped.
fn children(of: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{of}/task"));
    let lists = threads.into_iter().flatten().filter_map(|thread| {
        let list = thread.ok()?.path().join("children");
        std::fs::read_to_string(list).ok()
    });
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().map(str::to_owned);
            pids.collect::<Vec<_>>()
        })
        .collect()
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
            let started = children(harness.id());
            if !started.is_empty() || Instant::now() > until {
                break started;
            }
            yield_now();
        };
        kill(Pid::from_raw(harness.id().try_into().unwrap()), signal).unwrap();
        let ended = harness.wait().unwrap();
        assert_eq!(ended.code(), Some(1), "{signal}");
        assert!(!proxies.is_empty());
        for proxy in proxies {
            assert!(!Path::new(&format!("/proc/{proxy}")).exists(), "{signal}");
        }
    }
}
