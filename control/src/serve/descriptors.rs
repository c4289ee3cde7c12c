//! What the limit of open files has room for.

use crate::config::{EngineParts, Limits};
use eyesplice_dataplane::descriptors::Room;
use eyesplice_process::metrics::{Metrics, Row};
use eyesplice_sys::limits;

/// The limit of open files, and what the engine may hold under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    limit: u64,
    pub(crate) room: Room,
}

impl Descriptors {
    /// What the limit has room for, with what is open now, beside so many listening sockets.
    pub(crate) fn here(parts: EngineParts<'_>, workers: usize, sockets: usize) -> Self {
        // Where they cannot be read, EMFILE tells.
        let Ok(limit) = limits::open_files() else {
            return Self {
                limit: u64::MAX,
                room: Room::UNLIMITED,
            };
        };
        let held = limits::open_descriptors().unwrap_or_default();
        Self {
            limit: limit.soft,
            room: parts.room(workers, sockets, limit.soft, held),
        }
    }

    /// Says which limits are lower than configured, if any are.
    pub(crate) fn lowered(&self, limits: &Limits) -> Option<String> {
        let Self { limit, room } = self;
        let configured = limits.max_streams;
        (room.streams < configured).then(|| {
            format!(
                "limits.maxStreams is {} instead of {configured}: the limit of open files is \
                 {limit}, and a stream takes two; raise LimitNOFILE, or lower maxStreams",
                room.streams
            )
        })
    }

    /// Logs and shows the limits of a configuration as they are in force.
    pub(crate) fn show(&self, limits: &Limits, metrics: &Metrics) {
        if let Some(lowered) = self.lowered(limits) {
            tracing::warn!("{lowered}");
        }
        let Self { room, .. } = self;
        let rows = [
            ("streams", limits.max_streams, room.streams),
            (
                "unauthenticated",
                limits.max_unauthenticated,
                room.unauthenticated,
            ),
            (
                "pipes_per_worker",
                limits.max_pipes_per_worker,
                room.pipes_per_worker,
            ),
        ];
        let row = |limit: &str, state: &str, value: usize| Row {
            labels: vec![("limit", limit.to_owned()), ("state", state.to_owned())],
            value: i64::try_from(value).unwrap_or(i64::MAX),
        };
        let rows = rows.iter().flat_map(|(limit, configured, room)| {
            [
                row(limit, "configured", *configured),
                row(limit, "in_force", *configured.min(room)),
            ]
        });
        metrics.limits.replace(rows.collect());
    }
}
