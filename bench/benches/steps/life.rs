//! The life of a relayed stream that ends cleanly, as the engine reports it.

use eyesplice_proto::stream::{Event, Legs, Side};

/// From an established stream to the close of both legs.
pub(crate) const CLEAN: [Event; 10] = [
    Event::Relay(Legs {
        downstream: true,
        upstream: true,
    }),
    Event::Ended(Side::Downstream),
    Event::Shut(Side::Upstream),
    Event::Ended(Side::Upstream),
    Event::Shut(Side::Downstream),
    Event::Done,
    Event::Done,
    Event::Done,
    Event::Done,
    Event::Done,
];
