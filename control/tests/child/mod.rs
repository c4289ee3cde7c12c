//! Processes of ours that tests start, and their ends.
#![allow(dead_code, reason = "each test file uses its part")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const EYESPLICE: &str = env!("CARGO_BIN_EXE_eyesplice");

/// The kernel of this machine may lack what the gateway needs; that is another test's business.
pub(crate) fn kernel_can() -> bool {
    let probe = Command::new(EYESPLICE).arg("probe").output().unwrap();
    let can = probe.status.success();
    if !can {
        eprintln!("SKIPPED: this kernel or sandbox lacks io_uring; see `eyesplice probe`");
    }
    can
}

/// Asks an admin endpoint.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(pid(child), signal).unwrap();
}

/// Waits for the end; a child that takes longer than anybody waits is killed, and fails the test.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let pid = pid(child);
    let (sender, status) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait()));
        status.recv_timeout(PATIENCE).map_or_else(
            |_| {
                kill(pid, Signal::SIGKILL).unwrap();
                panic!("the process {pid} did not end");
            },
            Result::unwrap,
        )
    })
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// A process of ours and its log; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: Receiver<serde_json::Value>,
}

impl Running {
    /// Starts a server of ours.
    pub(crate) fn start(command: &str, dir: &Path, config: &str) -> Self {
        let mut server = Command::new(EYESPLICE);
        server
            .args([command, "--log-format", "json", "--config"])
            .arg(dir.join(config));
        Self::of(&mut server)
    }

    /// Starts a program that logs JSON.
    pub(crate) fn of(program: &mut Command) -> Self {
        let mut child = program
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = sender.send(event);
                }
            }
        });
        Self { child, log }
    }

    /// Waits for a log event with this message.
    pub(crate) fn event(&self, message: &str) -> serde_json::Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.log.recv_timeout(left);
            let event = event.unwrap_or_else(|_| panic!("no {message:?}"));
            if event["message"] == message {
                return event;
            }
        }
    }

    pub(crate) fn address(&self, message: &str) -> String {
        self.event(message)["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(&self.child, signal);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
