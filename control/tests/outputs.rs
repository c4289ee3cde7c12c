//! What the process writes to may be gone, full or stalled: it goes on, and a command whose result did not get there
//! fails.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, ended, get, kernel_can, signal};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Enough refused streams to fill a pipe of 64 KiB several times over, log and audit log alike.
const REFUSALS: usize = 1000;

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock, mode: '0600'}
egress:
  insecureAllowTargets: [127.0.0.0/8]
  rules:
  - {name: echo, cidrs: [127.0.0.0/8], action: splice}
timeouts: {drain: 1s}
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
";

/// A gateway whose outputs are the test's; killed when dropped.
struct Gateway {
    dir: tempfile::TempDir,
    child: Child,
    admin: String,
    echo: TcpListener,
}

impl Gateway {
    fn start(audit: &str, outputs: impl FnOnce(&mut Command)) -> Self {
        Self::by(Command::new(EYESPLICE), audit, outputs)
    }

    /// Starts one by a command that takes the arguments of `eyesplice`.
    fn by(mut command: Command, audit: &str, outputs: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("gateway.yaml");
        fs::write(&config, format!("{CONFIG}audit: {{{audit}}}\n")).unwrap();
        if audit.contains("fifo") {
            mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
        }
        command
            .args([
                "gateway",
                "--log-format",
                "json",
                "--log-level",
                "debug",
                "--config",
            ])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        outputs(&mut command);
        let child = command.spawn().unwrap();
        // Its copies of our pipes go with it.
        drop(command);
        let mut gateway = Self {
            dir,
            child,
            admin: String::new(),
            echo: TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        gateway.admin = gateway.until("an admin endpoint", |gateway| {
            listening(gateway.child.id()).into_iter().next()
        });
        gateway.until("readiness", |gateway| {
            gateway
                .get("/readyz")
                .starts_with("HTTP/1.1 200 ")
                .then_some(())
        });
        gateway
    }

    fn until<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let left = self.child.try_wait().unwrap();
            assert!(left.is_none(), "it ended before {what}: {left:?}");
            assert!(Instant::now() < end, "no {what}");
            std::thread::yield_now();
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("egress.sock")
    }

    fn get(&self, path: &str) -> String {
        get(&self.admin, path)
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
            .parse()
            .unwrap()
    }

    /// Waits for what a thread of the outputs counts, which nobody else waits for.
    fn until_counted(&mut self, name: &str) {
        self.until(name, |gateway| (gateway.metric(name) > 0.0).then_some(()));
    }

    /// Asks for a target; what was answered, and the connection.
    fn connect(&self, target: &str) -> (String, UnixStream) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    /// Has streams refused, each with a line in log and audit log.
    fn refuse(&self, count: usize) {
        for _ in 0..count {
            assert!(self.connect("10.9.9.9:80").0.starts_with("HTTP/1.1 403 "));
        }
    }

    /// A stream that lives.
    fn live(&self) -> (UnixStream, TcpStream) {
        let (head, stream) = self.connect(&self.echo.local_addr().unwrap().to_string());
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        (stream, self.echo.accept().unwrap().0)
    }

    /// What must go on whatever becomes of log and audit log.
    fn serves(&self, (down, up): &mut (UnixStream, TcpStream)) {
        let mut word = [0; 4];
        down.write_all(b"ping").unwrap();
        up.read_exact(&mut word).unwrap();
        up.write_all(b"pong").unwrap();
        down.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"pong");
        drop(self.live());
        assert!(self.get("/livez").starts_with("HTTP/1.1 200 "));
    }

    /// Reloads, drains and ends as ever.
    fn reloads_and_ends(mut self, live: (UnixStream, TcpStream)) -> tempfile::TempDir {
        let reloads = "eyesplice_config_reloads_total{result=\"success\"}";
        let before = self.metric(reloads);
        signal(&self.child, Signal::SIGHUP);
        self.until("a reload", |gateway| {
            (gateway.metric(reloads) > before).then_some(())
        });
        signal(&self.child, Signal::SIGTERM);
        assert!(ended(&mut self.child).success());
        assert!(!self.socket().exists(), "it ended in order");
        drop(live);
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The TCP addresses on which a process listens.
fn listening(pid: u32) -> Vec<String> {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let sockets: Vec<String> = fds
        .filter_map(|fd| {
            let link = fs::read_link(fd.ok()?.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let address = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let ours = fields.get(3) == Some(&"0A") && sockets.iter().any(|s| s == fields[9]);
        let port = fields.get(1)?.split(':').nth(1)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ours.then(|| format!("127.0.0.1:{port}"))
    };
    table.lines().filter_map(address).collect()
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe: its reader, and its writer for a child.
fn piped() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    (reader, writer.into())
}

#[test]
fn log_whose_reader_is_gone_costs_lines_and_nothing_else() {
    if !kernel_can() {
        return;
    }
    let (reader, writer) = piped();
    let mut gateway = Gateway::start("path: audit.log", |command| {
        command.stderr(writer);
    });
    let mut live = gateway.live();
    drop(reader);
    gateway.refuse(10);
    gateway.serves(&mut live);
    gateway.until_counted("eyesplice_log_write_failures_total");
    let dir = gateway.reloads_and_ends(live);
    let audit = fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert_eq!(audit.matches(r#""reason":"denied""#).count(), 10);
}

#[test]
fn log_and_audit_log_on_a_full_disk_cost_lines_and_nothing_else() {
    if !kernel_can() {
        return;
    }
    let mut gateway = Gateway::start("path: '-'", |command| {
        command.stderr(full()).stdout(full());
    });
    let mut live = gateway.live();
    gateway.refuse(10);
    gateway.serves(&mut live);
    for part in ["log", "audit"] {
        gateway.until_counted(&format!("eyesplice_{part}_write_failures_total"));
    }
    gateway.reloads_and_ends(live);
}

#[test]
fn log_whose_reader_stalls_holds_up_nothing_and_livez_says_so() {
    if !kernel_can() {
        return;
    }
    let (mut reader, writer) = piped();
    let mut gateway = Gateway::start("path: audit.log", |command| {
        command.stderr(writer);
    });
    let mut live = gateway.live();
    gateway.refuse(REFUSALS);
    gateway.serves(&mut live);
    gateway.until_counted("eyesplice_log_lines_waiting");
    gateway.until_counted("eyesplice_log_blocked_seconds");
    gateway.until("words of it", |gateway| {
        let livez = gateway.get("/livez");
        assert!(livez.starts_with("HTTP/1.1 200 "), "{livez}");
        livez.contains("log has taken no lines for ").then_some(())
    });
    assert!(gateway.get("/readyz").starts_with("HTTP/1.1 200 "));
    let dir = gateway.reloads_and_ends(live);
    // What the pipe took is whole lines.
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.len() > 30_000, "{}", log.len());
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    let audit = fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert_eq!(audit.matches(r#""reason":"denied""#).count(), REFUSALS);
}

#[test]
fn audit_log_whose_reader_stalls_holds_up_nothing_by_default() {
    if !kernel_can() {
        return;
    }
    let (mut reader, writer) = piped();
    let mut gateway = Gateway::start("path: '-'", |command| {
        command.stdout(writer);
    });
    let mut live = gateway.live();
    gateway.refuse(REFUSALS);
    gateway.serves(&mut live);
    gateway.until("no slot but the live one's", |gateway| {
        (gateway.metric("eyesplice_streams_live") == 1.0).then_some(())
    });
    gateway.until("words of it", |gateway| {
        let livez = gateway.get("/livez");
        assert!(livez.starts_with("HTTP/1.1 200 "), "{livez}");
        livez
            .contains("audit log - has taken no lines for ")
            .then_some(())
    });
    assert!(gateway.get("/readyz").starts_with("HTTP/1.1 200 "));
    gateway.reloads_and_ends(live);
    let mut audit = String::new();
    reader.read_to_string(&mut audit).unwrap();
    for line in audit.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn audit_log_that_must_not_miss_a_line_makes_the_gateway_unready_while_it_stalls() {
    if !kernel_can() {
        return;
    }
    let (reader, writer) = piped();
    let mut gateway = Gateway::start("path: '-', onFailure: block", |command| {
        command.stdout(writer);
    });
    let mut live = gateway.live();
    gateway.refuse(REFUSALS);
    gateway.serves(&mut live);
    gateway.until("an unready gateway", |gateway| {
        let ready = gateway.get("/readyz");
        ready
            .contains("[-]audit failed: audit log - has taken no lines")
            .then_some(())
    });
    assert!(gateway.get("/livez").starts_with("HTTP/1.1 200 "));
    // Its reader reads again.
    let reading = std::thread::spawn(move || {
        let (mut reader, mut audit) = (reader, String::new());
        reader.read_to_string(&mut audit).unwrap();
        audit
    });
    gateway.until("a ready gateway", |gateway| {
        gateway
            .get("/readyz")
            .starts_with("HTTP/1.1 200 ")
            .then_some(())
    });
    assert_eq!(gateway.metric("eyesplice_audit_lines_lost_total"), 0.0);
    gateway.reloads_and_ends(live);
    let audit = reading.join().unwrap();
    assert_eq!(audit.matches(r#""reason":"denied""#).count(), REFUSALS);
}

#[test]
fn audit_log_in_a_fifo_that_nobody_reads_neither_holds_up_the_start_nor_the_end() {
    if !kernel_can() {
        return;
    }
    let gateway = Gateway::start("path: fifo", |_| {});
    let mut live = gateway.live();
    gateway.refuse(10);
    gateway.serves(&mut live);
    let dir = gateway.reloads_and_ends(live);
    let kind = fs::metadata(dir.path().join("fifo")).unwrap().file_type();
    assert!(kind.is_fifo());
}

#[test]
fn second_signal_ends_at_once_although_nobody_reads() {
    if !kernel_can() {
        return;
    }
    let (_reader, writer) = piped();
    let mut gateway = Gateway::start("path: '-'", |command| {
        command.stdout(writer);
    });
    let _live = gateway.live();
    gateway.refuse(REFUSALS);
    for _ in 0..2 {
        signal(&gateway.child, Signal::SIGTERM);
    }
    assert!(ended(&mut gateway.child).success());
}

#[test]
fn file_at_its_size_limit_and_stray_signals_do_not_kill() {
    if !kernel_can() {
        return;
    }
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", EYESPLICE]);
    let mut gateway = Gateway::by(limited, "path: audit.log", |_| {});
    let mut live = gateway.live();
    gateway.refuse(100);
    gateway.until_counted("eyesplice_audit_write_failures_total");
    for stray in [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGXFSZ,
        Signal::SIGPIPE,
    ] {
        signal(&gateway.child, stray);
    }
    gateway.serves(&mut live);
    gateway.reloads_and_ends(live);
}

/// One-shot commands that print something.
fn commands(dir: &Path) -> Vec<Vec<String>> {
    let pki = dir.join("pki");
    let pki = pki.to_str().unwrap();
    let made = Command::new(EYESPLICE)
        .args(["pki", "init", pki, "--apiserver", "10.0.0.1"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let config = dir.join("gateway.yaml");
    fs::write(&config, CONFIG).unwrap();
    let config = config.to_str().unwrap();
    let tokens = dir.join("tokens");
    let tokens = tokens.to_str().unwrap();
    [
        &["version"][..],
        &["--help"],
        &["gateway", "--help"],
        &["--version"],
        &["probe"],
        &["check", config],
        &["pki", "show", pki],
        &["pki", "verify", pki],
        &["pki", "renew", pki, "--due"],
        &["token", "bootstrap", "create", "--dir", tokens],
    ]
    .iter()
    .map(|arguments| arguments.iter().map(ToString::to_string).collect())
    .collect()
}

#[test]
fn command_whose_result_cannot_be_written_fails_with_words() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in commands(dir.path()) {
        for broken in ["full", "closed"] {
            let stdout: Stdio = if broken == "full" {
                full().into()
            } else {
                piped().1
            };
            let run = Command::new(EYESPLICE)
                .args(&arguments)
                .stdout(stdout)
                .output();
            let run = run.unwrap();
            let words = String::from_utf8(run.stderr).unwrap();
            let code = run.status.code();
            assert!(
                matches!(code, Some(1)),
                "{arguments:?} {broken}: {:?}: {words}",
                run.status
            );
            assert!(
                words.contains("cannot write to standard output"),
                "{arguments:?}: {words}"
            );
        }
    }
}

#[test]
fn command_that_can_complain_to_nobody_fails_all_the_same() {
    for stderr in [full().into(), piped().1] {
        let run = Command::new(EYESPLICE)
            .args(["check", "/nonexistent/gateway.yaml"])
            .stderr(stderr)
            .status();
        assert_eq!(run.unwrap().code(), Some(1));
    }
}

#[test]
fn authority_whose_log_is_full_or_unread_serves_and_ends() -> io::Result<()> {
    for broken in ["full", "closed"] {
        let dir = tempfile::tempdir()?;
        let made = Command::new(EYESPLICE)
            .args(["pki", "init", "pki", "--apiserver", "127.0.0.1"])
            .current_dir(dir.path())
            .output()?;
        assert!(made.status.success());
        let config = dir.path().join("authority.yaml");
        fs::write(&config, AUTHORITY)?;
        let stderr: Stdio = if broken == "full" {
            full().into()
        } else {
            piped().1
        };
        let mut child = Command::new(EYESPLICE)
            .args(["authority", "--log-level", "debug", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()?;
        let end = Instant::now() + PATIENCE;
        while !listening(child.id())
            .iter()
            .any(|address| is_ready(address))
        {
            assert_eq!(child.try_wait()?, None, "{broken}");
            assert!(Instant::now() < end, "no readiness");
            std::thread::yield_now();
        }
        signal(&child, Signal::SIGUSR1);
        signal(&child, Signal::SIGTERM);
        assert!(ended(&mut child).success(), "{broken}");
    }
    Ok(())
}

/// Whether this is an admin endpoint, and not a listener with TLS, and says it is ready.
fn is_ready(address: &str) -> bool {
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: '127.0.0.1:0', tlsCertFile: pki/apiserver.crt, tlsPrivateKeyFile: pki/apiserver.key}
authentication: {clientCAFile: pki/ca.crt}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kube-apiserver-client, certFile: pki/ca.crt, keyFile: pki/ca.key}
admin: {address: '127.0.0.1:0'}
";
