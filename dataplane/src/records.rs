//! Hands records to control; no stream waits for that.
//!
//! Control takes records through a bounded channel. When it is behind, a worker keeps some of its own; beyond,
//! records are lost and counted: a stream that is over must give back its slot, and a live one must not stand still
//! for a record.

use crate::counters::Counter;
use crate::limits::RECORDS_KEPT;
use crate::seam::StreamRecord;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// One worker's records on their way.
pub(crate) struct Records {
    channel: mpsc::Sender<StreamRecord>,
    waiting: RefCell<VecDeque<StreamRecord>>,
    came: Notify,
}

impl Records {
    pub(crate) fn new(channel: mpsc::Sender<StreamRecord>) -> Self {
        Self {
            channel,
            waiting: RefCell::default(),
            came: Notify::new(),
        }
    }

    /// Hands over a record, in order; counts it in `lost` if there is no room. If control is gone there is nobody to
    /// tell.
    pub(crate) fn push(&self, record: StreamRecord, lost: &Counter) {
        let mut waiting = self.waiting.borrow_mut();
        let record = if waiting.is_empty() {
            match self.channel.try_send(record) {
                Ok(()) | Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(record)) => record,
            }
        } else {
            record
        };
        if waiting.len() >= RECORDS_KEPT {
            lost.inc();
            return;
        }
        waiting.push_back(record);
        self.came.notify_one();
    }

    /// Hands over a record that nobody promised, if there is room now; tells whether there was.
    pub(crate) fn offer(&self, record: StreamRecord) -> bool {
        self.waiting.borrow().is_empty() && self.channel.try_send(record).is_ok()
    }

    /// Hands over what waits, for as long as it is polled.
    pub(crate) async fn forward(&self) {
        loop {
            self.came.notified().await;
            self.empty().await;
        }
    }

    /// Hands over what still waits, for at most `patience`; counts the rest in `lost`.
    pub(crate) async fn finish(&self, patience: Duration, lost: &Counter) {
        // Whether in time or not, what is left tells.
        let _ = timeout(patience, self.empty()).await;
        lost.add(self.waiting.take().len() as u64);
    }

    async fn empty(&self) {
        while !self.waiting.borrow().is_empty() {
            let Ok(place) = self.channel.reserve().await else {
                self.waiting.take();
                return;
            };
            // Bound first: the borrow must end before the record goes.
            let record = self.waiting.borrow_mut().pop_front();
            if let Some(record) = record {
                place.send(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::{
        KeyExchange, Peer, Phase, Reason, RecordKind, Side, StreamBytes, StreamId, StreamMode,
        TunnelTls, VerificationResult,
    };
    use std::time::SystemTime;

    fn record(sequence: u64) -> StreamRecord {
        StreamRecord {
            kind: RecordKind::End,
            id: StreamId::new(0, 0, sequence),
            exchange: 0,
            listener: "uds".into(),
            peer: Peer::Unix {
                pid: 1,
                uid: 0,
                gid: 0,
            },
            client: None,
            target: None,
            address: None,
            via: None,
            rule: None,
            node: None,
            generation: 1,
            mode: StreamMode::Splice,
            verification: VerificationResult::NotApplicable,
            key_exchange: KeyExchange::default(),
            tunnel_tls: TunnelTls::default(),
            warm: false,
            exchange_labels: None,
            status: None,
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            bytes: StreamBytes::default(),
            reason: Reason::Completed,
            side: Side::Upstream,
            phase: Phase::Relay,
            detail: None,
        }
    }

    #[tokio::test]
    async fn control_that_is_behind_gets_every_record_in_order() {
        let (sender, mut receiver) = mpsc::channel(2);
        let (records, lost) = (Records::new(sender), Counter::default());
        for sequence in 1..=10 {
            records.push(record(sequence), &lost);
        }
        let receive = async {
            for sequence in 1..=10 {
                assert_eq!(
                    receiver.recv().await.unwrap().id,
                    StreamId::new(0, 0, sequence)
                );
            }
        };
        tokio::select! {
            () = records.forward() => unreachable!("runs for ever"),
            () = receive => {}
        }
        assert_eq!(lost.value(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn control_that_takes_nothing_costs_counted_records_and_no_wait() {
        let (sender, _receiver) = mpsc::channel(1);
        let (records, lost) = (Records::new(sender), Counter::default());
        for sequence in 0..RECORDS_KEPT as u64 + 11 {
            records.push(record(sequence), &lost);
        }
        assert_eq!(lost.value(), 10);
        records.finish(Duration::from_secs(5), &lost).await;
        assert_eq!(lost.value(), 10 + RECORDS_KEPT as u64);
    }

    #[tokio::test]
    async fn control_that_is_gone_needs_no_record() {
        let (sender, receiver) = mpsc::channel(1);
        let (records, lost) = (Records::new(sender), Counter::default());
        for sequence in 0..3 {
            records.push(record(sequence), &lost);
        }
        drop(receiver);
        records.finish(Duration::from_secs(5), &lost).await;
        assert_eq!(lost.value(), 0);
    }
}
