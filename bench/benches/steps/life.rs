//! The life of a relayed stream that ends cleanly, as the engine reports it.

use eyesplice_proto::stream::{Event, Legs, Side, Stream};
use std::hint::black_box;

/// From an established stream to its second clean end; what the machine then waits for is done.
const CLEAN: [Event; 5] = [
    Event::Relay(Legs {
        downstream: true,
        upstream: true,
    }),
    Event::Ended(Side::Downstream),
    Event::Shut(Side::Upstream),
    Event::Ended(Side::Upstream),
    Event::Shut(Side::Downstream),
];

/// Leads a stream from its start to the close of both legs.
pub(crate) fn lived() -> Stream {
    let mut stream = Stream::new();
    for event in CLEAN {
        drop(black_box(stream.on(black_box(event))).expect("legal"));
    }
    while !stream.is_finished() {
        drop(black_box(stream.on(black_box(Event::Done))).expect("legal"));
    }
    stream
}
