//! What tests say of records.

use eyesplice_dataplane::seam::{Phase, Reason, Side, StreamRecord};

/// Asserts who ended a stream, why and when.
#[track_caller]
pub(crate) fn assert_end(record: &StreamRecord, reason: Reason, side: Side, phase: Phase) {
    assert_eq!(
        (record.reason, record.side, record.phase),
        (reason, side, phase),
        "{record:#?}"
    );
    assert_no_secret(record);
}

/// Asserts that the command of an exec is nowhere.
#[track_caller]
pub(crate) fn assert_no_secret(record: &StreamRecord) {
    let shown = format!("{record:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
