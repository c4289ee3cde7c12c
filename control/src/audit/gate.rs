//! What an audit log that takes no lines means for new streams: `audit.onFailure`.
//!
//! `drop`: nothing; what does not fit is lost, counted, and told of in the log itself. `block`: no exec, attach or
//! port-forward begins once the log made no progress for [`STALLED`], and no stream or request at all once the room
//! for lines is used up. What runs goes on either way, and its lines have a reserve.

use crate::config::OnFailure;
use eyesplice_dataplane::seam::{RecordKind, StreamRecord};
use eyesplice_process::admin::{Audited, Condition};
use eyesplice_process::output::Output;
use eyesplice_process::output::limits::STALLED;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Free places of the records' channel below which control counts as behind: workers keep as many again.
const PLACES: usize = super::QUEUE / 4;

/// Says whether streams may begin.
#[derive(Clone, Debug)]
pub struct Gate {
    output: Output,
    on_failure: OnFailure,
    path: Arc<str>,
    records: mpsc::WeakSender<StreamRecord>,
}

impl Gate {
    pub(super) fn new(
        output: Output,
        on_failure: OnFailure,
        path: Arc<str>,
        records: mpsc::WeakSender<StreamRecord>,
    ) -> Self {
        Self {
            output,
            on_failure,
            path,
            records,
        }
    }

    /// Why nothing may begin that leaves a record of this kind; nothing: it may. Two loads, as a rule.
    pub fn refusal(&self, kind: RecordKind) -> Option<String> {
        let closed = self.on_failure == OnFailure::Block
            && (self.is_full() || kind == RecordKind::Start && self.is_stalled());
        closed.then(|| {
            let words = self.words();
            format!("{words}; audit.onFailure is block: free its disk, or unblock its reader")
        })
    }

    fn is_stalled(&self) -> bool {
        self.output.blocked().is_some_and(|since| since >= STALLED)
    }

    fn is_full(&self) -> bool {
        // Once the engine is gone, nothing begins.
        let behind = |records: mpsc::Sender<_>| records.capacity() < PLACES;
        self.output.is_full() || self.records.upgrade().is_some_and(behind)
    }

    fn words(&self) -> String {
        let status = self.output.status();
        let path = &self.path;
        let (lines, lost) = (status.lines, status.lost);
        let since = status.blocked.unwrap_or(Duration::ZERO).as_secs();
        let why = status
            .trouble
            .as_deref()
            .unwrap_or("its reader does not read");
        format!(
            "audit log {path} has taken no lines for {since} s ({why}); {lines} lines wait, {lost} are lost"
        )
    }
}

impl Audited for Gate {
    fn condition(&self) -> Condition {
        match (self.is_full() || self.is_stalled(), self.on_failure) {
            (false, _) => Condition::Good,
            (true, OnFailure::Drop) => Condition::Noted(self.words()),
            (true, OnFailure::Block) => Condition::Failed(self.words()),
        }
    }
}
