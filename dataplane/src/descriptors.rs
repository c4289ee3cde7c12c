//! Shares out what the limit of open files allows, so that the engine stops at limits of its own and leaves
//! descriptors to those who look after it.

/// Descriptors of one worker beside its listeners: ring, epoll, two for wake-ups, and room for as many more.
const WORKER: usize = 8;

/// Descriptors of one stream: both its legs. (A dial that races a second address borrows from the reserve.)
const STREAM: usize = 2;

/// Descriptors of one pipe.
const PIPE: usize = 2;

/// One part in so many of the limit is for the rest of the process: admin endpoint, reload, audit, name
/// lookups, an embedded authority, the second addresses of dials.
const RESERVE: usize = 16;

/// The least such reserve: a few probes and scrapes at once, and a reload, which opens a file at a time.
const RESERVE_LEAST: usize = 24;

/// The largest: all that control opens under its own bounds.
const RESERVE_MOST: usize = 512;

/// What is no stream gets at most one part in so many each.
const PART: usize = 8;

/// What the engine would hold if it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Worker threads.
    pub workers: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Connections over TCP on which nobody has authenticated yet.
    pub unauthenticated: usize,
    /// Pipes that one worker may hold.
    pub pipes_per_worker: usize,
}

/// What the engine may hold, whatever its limits say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Streams in all.
    pub streams: usize,
    /// Connections over TCP on which nobody has authenticated yet.
    pub unauthenticated: usize,
    /// Connections that read why they are refused.
    pub refusals: usize,
    /// Pipes that one worker may hold.
    pub pipes_per_worker: usize,
}

impl Room {
    /// No limit of descriptors.
    pub const UNLIMITED: Self = Self {
        streams: usize::MAX,
        unauthenticated: usize::MAX,
        refusals: crate::limits::POLITE_REFUSALS,
        pipes_per_worker: usize::MAX,
    };

    /// What a process that may open `limit` descriptors and holds `held` can give: at least one of
    /// everything but pipes, without which bytes are copied.
    pub fn within(limit: u64, held: usize, demand: &Demand) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reserve = (limit / RESERVE).clamp(RESERVE_LEAST, RESERVE_MOST);
        let fixed = held + reserve + demand.workers * WORKER + demand.listeners;
        let free = limit.saturating_sub(fixed);
        let workers = demand.workers.max(1);
        let part = free / PART;
        let mut room = Self {
            streams: 0,
            unauthenticated: demand.unauthenticated.min(part).max(1),
            refusals: Self::UNLIMITED.refusals.min(part).max(1),
            pipes_per_worker: demand.pipes_per_worker.min(part / PIPE / workers),
        };
        let left = free.saturating_sub(room.descriptors(workers));
        room.streams = (left / STREAM).max(1);
        room
    }

    fn descriptors(&self, workers: usize) -> usize {
        let pipes = self.pipes_per_worker * workers * PIPE;
        self.streams * STREAM + self.unauthenticated + self.refusals + pipes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        workers: 2,
        listeners: 3,
        unauthenticated: 1024,
        pipes_per_worker: 32,
    };

    #[test]
    fn enough_descriptors_give_what_is_wanted() {
        let room = Room::within(262_144, 40, &DEMAND);
        assert!(room.streams > 100_000, "{room:?}");
        let rest = (room.unauthenticated, room.refusals, room.pipes_per_worker);
        assert_eq!(rest, (1024, 64, 32));
    }

    #[test]
    fn every_limit_leaves_the_reserve_and_at_least_one_stream() {
        for limit in 0..70_000 {
            let room = Room::within(limit, 20, &DEMAND);
            assert!(room.streams >= 1 && room.unauthenticated >= 1 && room.refusals >= 1);
            let held = 20 + 2 * WORKER + 3 + room.descriptors(2);
            if limit >= 80 {
                let limit = usize::try_from(limit).unwrap();
                assert!(held + RESERVE_LEAST <= limit, "{limit}: {room:?}");
            }
        }
    }

    #[test]
    fn more_descriptors_never_give_fewer_streams_by_more_than_the_rest_grows() {
        let streams = |limit| Room::within(limit, 20, &DEMAND).streams;
        for limit in 1..70_000 {
            assert!(streams(limit) + 4 >= streams(limit - 1), "{limit}");
        }
        assert_eq!(streams(20_000), 9_116);
    }
}
