//! A stream through `kubectl exec`: the far end runs in a pod, on standard input and output.

use super::Channel;
use crate::{Attempt, Result};
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What is run in the pod; overruled by the variable of the same name as [`COMMAND`].
const FAR_END: &str = "eyesplice-load serve --stdio";

/// Environment variable with the command that is run in the pod.
const COMMAND: &str = "EYESPLICE_LOAD_POD_COMMAND";

/// Runs the far end in `NAMESPACE/POD[/CONTAINER]`; KUBECONFIG is kubectl's.
pub(super) fn exec(pod: &str) -> Result<Box<dyn Channel>> {
    let mut words = pod.splitn(3, '/');
    let namespace = words.next().unwrap_or_default();
    let name = words.next().unwrap_or_default();
    let mut command = Command::new("kubectl");
    command.args(["exec", "--stdin", "--quiet", "--namespace", namespace, name]);
    if let Some(container) = words.next() {
        command.args(["--container", container]);
    }
    let far_end = std::env::var(COMMAND).unwrap_or_else(|_| FAR_END.into());
    let mut process = command
        .arg("--")
        .args(far_end.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .attempt("start kubectl")?;
    let pipes = process.stdin.take().zip(process.stdout.take());
    let (stdin, stdout) = pipes
        .ok_or(io::ErrorKind::BrokenPipe)
        .attempt("talk to kubectl")?;
    Ok(Box::new(Exec {
        stdin: Some(stdin),
        stdout,
        _process: process,
    }))
}

/// A running kubectl; killed when dropped.
struct Exec {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    _process: Child,
}

impl AsyncRead for Exec {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

impl AsyncWrite for Exec {
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
