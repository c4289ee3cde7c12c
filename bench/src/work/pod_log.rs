//! A follower of a pod's log, by `kubectl logs`: lines of `eyesplice-load emit`, one way.

use super::Task;
use crate::meter::{boot, monotonic};
use crate::route::Opened;
use crate::wire::{Incoming, Record};
use crate::{Error, Result};
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;

/// Buffer of a follower.
const BUFFER: usize = 16 * 1024;

/// Follows until the window ends. Every line is checked, and that none is missing between two; what is
/// still on its way at the end is nobody's loss, since a log has no end.
pub(super) async fn run(task: &Task) -> Result<()> {
    let Opened { channel, handshake } = task.route.open().await?;
    task.tally.opened(handshake);
    let mut lines = Lines::new(Incoming::new(channel, task.side.clone(), 0, BUFFER));
    let deadline = tokio::time::sleep_until(task.window.ends.into());
    tokio::pin!(deadline);
    let boot = boot();
    let mut last = None;
    loop {
        let record = tokio::select! {
            biased;
            () = &mut deadline => break,
            record = lines.next() => record?,
        };
        let now = Instant::now();
        let due = if record.boot == boot {
            let age = monotonic().saturating_sub(Duration::from_nanos(record.at));
            now.checked_sub(age).unwrap_or(now)
        } else {
            last.unwrap_or(now)
        };
        task.recorder.record(due, due, now);
        last = Some(now);
    }
    match last {
        Some(_) => Ok(()),
        None => Err(Error::Unfit(
            "no line of the pod's log arrived; its command must be `eyesplice-load emit`".into(),
        )),
    }
}

/// Lines, in order and whole.
struct Lines<R> {
    incoming: Incoming<R>,
    expected: Option<u64>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(incoming: Incoming<R>) -> Self {
        Self {
            incoming,
            expected: None,
        }
    }

    async fn next(&mut self) -> Result<Record> {
        let record = self.incoming.record().await?;
        match self.expected {
            Some(expected) if expected != record.number => Err(Error::Lines {
                expected,
                received: record.number,
            }),
            _ => {
                self.expected = Some(record.number + 1);
                Ok(record)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Content, Side};
    use std::sync::Arc;

    async fn follow(numbers: &[u64], damage: Option<usize>) -> Result<u64> {
        let content = Arc::new(Content::new());
        let mut text: Vec<u8> = numbers
            .iter()
            .flat_map(|&number| {
                let (at, boot) = (number * 1000, 1);
                Record { number, at, boot }
                    .encode(&content, 130)
                    .into_bytes()
            })
            .collect();
        if let Some(at) = damage {
            text[at] ^= 1;
        }
        let side = Side::new("test", content);
        let mut lines = Lines::new(Incoming::new(&text[..], side, 0, 1000));
        let mut read = 0;
        for _ in numbers {
            lines.next().await?;
            read += 1;
        }
        Ok(read)
    }

    #[tokio::test]
    async fn lines_are_taken_from_any_number_on_and_none_may_be_missing_doubled_or_damaged() {
        assert_eq!(follow(&[5, 6, 7], None).await.unwrap(), 3);
        for wrong in [[5, 7, 8], [5, 5, 6], [5, 4, 5]] {
            assert!(matches!(
                follow(&wrong, None).await,
                Err(Error::Lines { .. })
            ));
        }
        for at in [0, 25, 60, 129, 200] {
            assert!(follow(&[5, 6, 7], Some(at)).await.is_err(), "{at}");
        }
    }
}
