//! The far end: takes streams, reads what each is for, does it, and checks what arrives.

mod emit;
mod jobs;
mod listen;

pub use emit::{EmitOptions, emit};
pub(crate) use listen::Origin;
pub use listen::{ServeOptions, serve};

use crate::route::{Channel, answer_upgrade};
use crate::wire::{Hello, Incoming, Job, Outgoing, Side, Way};
use crate::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncRead;

/// Buffer of a stream that moves little.
const SMALL: usize = 16 * 1024;

/// Buffer of a stream that moves much.
const LARGE: usize = 256 * 1024;

/// Most header lines of an upgrade request.
const MAX_LINES: usize = 100;

/// What far ends have found wrong; none of it is forgiven.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    fn add(&self, error: &Error) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("{error}");
        faults.push(error.to_string());
    }

    /// Takes what was found since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does what a stream asks for, until it ends. A stream that breaks off is its client's to judge;
/// bytes that are wrong are a fault.
async fn stream(channel: Box<dyn Channel>, side: Side, faults: &Faults) {
    if let Err(error) = answer(channel, side).await
        && matches!(error, Error::Content { .. } | Error::Count { .. })
    {
        faults.add(&error);
    }
}

async fn answer(channel: Box<dyn Channel>, side: Side) -> Result<()> {
    let (read, write) = tokio::io::split(channel);
    let mut incoming = Incoming::new(read, side.clone(), 0, SMALL);
    let mut out = Outgoing::new(write, side, 0);
    let Some(first) = incoming.line().await? else {
        return Ok(());
    };
    let hello = match Hello::parse(&first) {
        Some(hello) => hello,
        // Not ours: an upgrade's head, which the hello follows.
        None => {
            let head = head(&mut incoming, &first).await?;
            out.queue(&answer_upgrade(&head));
            out.payload(0).await?;
            let line = incoming.line().await?.unwrap_or_default();
            Hello::parse(&line).ok_or(Error::Ended("client"))?
        }
    };
    incoming.expect(hello.offset(Way::Up));
    out.begin(hello.offset(Way::Down));
    match hello.job {
        Job::Bulk { down, chunk } => {
            incoming.resize(LARGE);
            jobs::bulk(&mut incoming, &mut out, down, chunk).await
        }
        Job::Turns { cycle } => jobs::turns(&mut incoming, &mut out, &cycle).await,
        Job::Sessions { reply } => jobs::sessions(&mut incoming, &mut out, reply).await,
        Job::Lines { line, rate } => jobs::lines(&mut incoming, &mut out, line, rate).await,
    }
}

/// The lines of an upgrade request.
async fn head<R: AsyncRead + Unpin>(
    incoming: &mut Incoming<R>,
    first: &[u8],
) -> Result<Vec<String>> {
    let mut lines = vec![String::from_utf8_lossy(first).into_owned()];
    while lines.len() < MAX_LINES && lines[0].trim_end().ends_with("HTTP/1.1") {
        let line = incoming.line().await?.ok_or(Error::Ended("client"))?;
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            return Ok(lines);
        }
        lines.push(line.into_owned());
    }
    Err(Error::Answer {
        who: "client",
        answer: lines.swap_remove(0),
        expected: "a line of the harness or an upgrade request",
    })
}
