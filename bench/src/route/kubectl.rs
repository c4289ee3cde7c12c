//! Streams through kubectl: an exec, a followed log, a forwarded port. KUBECONFIG is kubectl's.

use super::Channel;
use crate::{Attempt, Error, Result};
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What is run in the pod; overruled by the variable of the same name as [`COMMAND`].
const FAR_END: &str = "eyesplice-load serve --stdio";

/// Environment variable with the command that is run in the pod.
const COMMAND: &str = "EYESPLICE_LOAD_POD_COMMAND";

/// Environment variable with the kubectl to run.
const KUBECTL: &str = "KUBECTL";

/// Where kubectl listens for connections to forward.
pub(super) const FORWARDED: &str = "127.0.0.1:0";

/// What kubectl says once it does.
const FORWARDING: &str = "Forwarding from ";

/// Lines that it may say before.
const LINES: usize = 8;

/// Runs the far end in `NAMESPACE/POD[/CONTAINER]`.
pub(super) fn exec(pod: &str) -> Result<Box<dyn Channel>> {
    let mut command = kubectl(&["exec", "--stdin"], pod, true)?;
    let far_end = std::env::var(COMMAND).unwrap_or_else(|_| FAR_END.into());
    command.arg("--").args(far_end.split_whitespace());
    stream(command, Stdio::piped())
}

/// Follows the log of `NAMESPACE/POD[/CONTAINER]`, from its next line on.
pub(super) fn logs(pod: &str) -> Result<Box<dyn Channel>> {
    stream(
        kubectl(&["logs", "--follow", "--tail=0"], pod, true)?,
        Stdio::null(),
    )
}

/// A running `kubectl port-forward`; ends when dropped.
#[derive(Debug)]
pub(super) struct Forward {
    address: String,
    _process: Child,
}

impl Forward {
    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

/// Forwards a free port of this machine to `NAMESPACE/POD/PORT`.
pub(super) async fn forward(target: &str) -> Result<Forward> {
    let (pod, port) = target
        .rsplit_once('/')
        .ok_or_else(|| unfit(target, "NAMESPACE/POD/PORT"))?;
    let mut command = kubectl(&["port-forward", "--address", "127.0.0.1"], pod, false)?;
    command.arg(format!(":{port}"));
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .attempt("start kubectl")?;
    let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe);
    let mut lines = BufReader::new(stdout.attempt("talk to kubectl")?).lines();
    for _ in 0..LINES {
        let line = lines.next_line().await.attempt("hear from kubectl")?;
        let line = line.ok_or(Error::Ended("kubectl"))?;
        let address = line
            .strip_prefix(FORWARDING)
            .and_then(|rest| rest.split_whitespace().next());
        if let Some(address) = address {
            // It tells of each connection, and stops if nobody listens.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(Forward {
                address: address.into(),
                _process: process,
            });
        }
    }
    Err(Error::Unfit(format!(
        "kubectl does not say {FORWARDING:?}, so where it listens is unknown"
    )))
}

/// A kubectl for `NAMESPACE/POD[/CONTAINER]`.
fn kubectl(verb: &[&str], pod: &str, container: bool) -> Result<Command> {
    let words: Vec<_> = pod.split('/').collect();
    let (namespace, name, chosen) = match *words.as_slice() {
        [namespace, name] => (namespace, name, None),
        [namespace, name, chosen] if container => (namespace, name, Some(chosen)),
        _ => return Err(unfit(pod, "NAMESPACE/POD[/CONTAINER]")),
    };
    let program = std::env::var(KUBECTL).unwrap_or_else(|_| "kubectl".into());
    let mut command = Command::new(program);
    command.args(verb).args(["--namespace", namespace, name]);
    if let Some(chosen) = chosen {
        command.args(["--container", chosen]);
    }
    Ok(command)
}

fn unfit(words: &str, form: &str) -> Error {
    Error::Unfit(format!("{words:?} names no pod; give {form}"))
}

fn stream(mut command: Command, stdin: Stdio) -> Result<Box<dyn Channel>> {
    let mut process = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .attempt("start kubectl")?;
    let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe);
    Ok(Box::new(Pipes {
        stdin: process.stdin.take(),
        stdout: stdout.attempt("talk to kubectl")?,
        _process: process,
    }))
}

/// A running kubectl; killed when dropped.
struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _process: Child,
}

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// A pipe ends when it is closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}
