//! The listener for clients of the Kubernetes API, as far as it is one: who is known, and what is
//! said of those who are not.

use crate::accept::gate::{Gate, Notice};
use crate::accept::strangers::Source;
pub(crate) use crate::carry::front::refuse;
use crate::context::StreamContext;
use crate::seam::StreamRecord;
use std::net::SocketAddr;

/// A request of this client shows who it is: the next connection from there need not wait.
pub(crate) fn authenticated(cx: &StreamContext, gate: &Gate, client: SocketAddr) {
    let snapshot = cx.desk().snapshot();
    gate.authenticated(Source::from(client.ip()), &snapshot.admission);
}

/// Tells of a connection on which nobody authenticated. Any client can cause as many as it
/// likes, so only one a second of each kind reaches log and audit.
pub(crate) fn tell(cx: &StreamContext, gate: &Gate, mut record: StreamRecord) {
    let told = gate.says(Notice::Unauthenticated(record.reason));
    let told = told.is_some_and(|unsaid| {
        if unsaid.count > 0 {
            let detail = record.detail.as_deref();
            let detail = detail.unwrap_or("nobody had authenticated");
            record.detail = Some(format!("{detail}{unsaid}").into());
        }
        cx.desk().offer(record)
    });
    if !told {
        cx.counters().unauthenticated_untold.inc();
    }
}
