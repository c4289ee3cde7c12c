use super::*;

const CLEAN: End = End::Clean;
const RESET: End = End::Cut(Cut::Reset);
const TRUNCATED: End = End::Cut(Cut::Truncated);
const DIRECTIONS: [Direction; 4] = [
    Direction::Open,
    Direction::HalfClosed,
    Direction::Cut(Cut::Reset),
    Direction::Cut(Cut::Truncated),
];

/// Says an event or state of this side in the words of the other, so that the table lists one side.
fn mirrored(actions: &[Action]) -> Vec<Action> {
    let mirror = |action: &Action| match action {
        Action::ShutWrite(side) => Action::ShutWrite(side.other()),
        Action::Abort(side) => Action::Abort(side.other()),
        Action::Finished => Action::Finished,
    };
    actions.iter().map(mirror).collect()
}

/// Every transition of an event of the downstream leg: (downstream, upstream, end) to what follows.
fn expected(
    downstream: Direction,
    upstream: Direction,
    end: End,
) -> Result<(Direction, Vec<Action>), Illegal> {
    use Action::{Abort, Finished, ShutWrite};
    use Direction::{Cut as Was, HalfClosed, Open};
    use Side::{Downstream, Upstream};
    match (downstream, upstream, end) {
        (Open, Open, CLEAN) => Ok((HalfClosed, vec![ShutWrite(Upstream)])),
        (Open, HalfClosed, CLEAN) => Ok((HalfClosed, vec![ShutWrite(Upstream), Finished])),
        (Open, Open | HalfClosed, RESET) => Ok((Was(Cut::Reset), vec![Abort(Upstream), Finished])),
        (Open, Open, TRUNCATED) => Ok((
            Was(Cut::Truncated),
            vec![Abort(Upstream), Abort(Downstream), Finished],
        )),
        (Open, HalfClosed, TRUNCATED) => Ok((Was(Cut::Truncated), vec![Abort(Upstream), Finished])),
        (HalfClosed, Open, RESET) => Ok((Was(Cut::Reset), vec![Abort(Upstream), Finished])),
        (HalfClosed, Open, CLEAN | TRUNCATED) => Err(Illegal::EndedTwice(Downstream)),
        (HalfClosed, HalfClosed, _) | (Was(_), _, _) | (_, Was(_), _) => Err(Illegal::Finished),
    }
}

#[test]
fn transitions_all_of_them_are_as_listed() {
    for downstream in DIRECTIONS {
        for upstream in DIRECTIONS {
            for end in [CLEAN, RESET, TRUNCATED] {
                let before = Stream {
                    downstream,
                    upstream,
                };
                let mut after = before;
                let found = after.on(Event::DownstreamEnd(end));
                let expected = expected(downstream, upstream, end);
                match (found, &expected) {
                    (Ok(actions), Ok((next, wanted))) => {
                        assert_eq!(actions.as_slice(), wanted.as_slice(), "{before:?} {end:?}");
                        assert_eq!(
                            after,
                            Stream {
                                downstream: *next,
                                upstream
                            }
                        );
                    }
                    (Err(found), Err(wanted)) => {
                        assert_eq!(found, *wanted, "{before:?} {end:?}");
                        assert_eq!(after, before, "as before");
                    }
                    (found, wanted) => panic!("{before:?} {end:?}: {found:?}, not {wanted:?}"),
                }
                // The other side is the mirror image.
                let mut after = Stream {
                    downstream: upstream,
                    upstream: downstream,
                };
                match (after.on(Event::UpstreamEnd(end)), expected) {
                    (Ok(actions), Ok((next, wanted))) => {
                        assert_eq!(mirrored(&actions), wanted);
                        assert_eq!(
                            after,
                            Stream {
                                downstream: upstream,
                                upstream: next
                            }
                        );
                    }
                    (Err(Illegal::EndedTwice(side)), Err(Illegal::EndedTwice(wanted))) => {
                        assert_eq!(side.other(), wanted);
                    }
                    (Err(found), Err(wanted)) => assert_eq!(found, wanted),
                    (found, wanted) => panic!("mirror: {found:?}, not {wanted:?}"),
                }
            }
        }
    }
}

#[test]
fn outcome_names_the_leg_that_was_cut() {
    let mut stream = Stream::new();
    assert_eq!(stream.outcome(), None);
    stream.on(Event::UpstreamEnd(CLEAN)).unwrap();
    assert_eq!(stream.outcome(), None);
    let mut cut = stream;
    cut.on(Event::DownstreamEnd(TRUNCATED)).unwrap();
    assert_eq!(
        cut.outcome(),
        Some(Outcome::Cut(Side::Downstream, Cut::Truncated))
    );
    stream.on(Event::DownstreamEnd(CLEAN)).unwrap();
    assert_eq!(stream.outcome(), Some(Outcome::Clean));
}

#[test]
fn finished_is_said_exactly_once_on_every_path() {
    let ends = [CLEAN, RESET, TRUNCATED];
    for first in ends {
        for second in ends {
            let mut stream = Stream::new();
            let mut said = 0;
            for event in [Event::DownstreamEnd(first), Event::UpstreamEnd(second)] {
                if let Ok(actions) = stream.on(event) {
                    said += actions.iter().filter(|it| **it == Action::Finished).count();
                }
            }
            assert_eq!(said, 1, "{first:?} then {second:?}");
        }
    }
}
