use super::*;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Write as _;

const SIDES: [Side; 2] = [Side::Downstream, Side::Upstream];
const CUTS: [Cut; 4] = [Cut::Reset, Cut::GivenUp, Cut::Truncated, Cut::Broken];

/// Every transition, as a person has read it. To see what a change makes of it, run the test with
/// `TRANSITIONS` set to the name of a file that it may write.
const LISTED: &str = include_str!("transitions.txt");

/// Every event that there is.
fn events() -> Vec<Event> {
    let mut events = Vec::new();
    for (downstream, upstream) in [(false, false), (false, true), (true, false), (true, true)] {
        let tls = Legs {
            downstream,
            upstream,
        };
        events.extend([Event::Exchange(tls), Event::Relay(tls)]);
    }
    for side in SIDES {
        events.extend([
            Event::Ended(side),
            Event::Shut(side),
            Event::Closed(side),
            Event::Abandoned(side),
            Event::Lost(side),
        ]);
        for cut in CUTS {
            events.extend([
                Event::Cut(side, cut),
                Event::Unwritable(side, cut),
                Event::Failed(Cause::Cut(side, cut)),
                Event::Told(Cause::Cut(side, cut)),
                Event::Alerted(Cause::Cut(side, cut)),
            ]);
        }
    }
    events.extend([
        Event::Silent,
        Event::Idle,
        Event::Aborted,
        Event::Exhausted,
        Event::Stalled,
        Event::Done,
        Event::Unseen,
        Event::Failed(Cause::Local),
        Event::Told(Cause::Local),
        Event::Alerted(Cause::Local),
        Event::Served,
        Event::Unfinished,
    ]);
    events
}

/// Every stream that some row of legal events leads to.
fn reachable() -> Vec<Stream> {
    let mut waiting = VecDeque::from([Stream::refused(), Stream::new()]);
    let mut seen: HashSet<Stream> = waiting.iter().copied().collect();
    let mut all = Vec::new();
    while let Some(stream) = waiting.pop_front() {
        all.push(stream);
        for event in events() {
            let mut next = stream;
            if next.on(event).is_ok() && seen.insert(next) {
                waiting.push_back(next);
            }
        }
    }
    all
}

/// What a transition may depend on beside the state, in words.
type Fact = (&'static str, fn(&Stream) -> bool);

/// What an event leads to, under each of the conditions that it depends on.
type Row = Vec<(String, String)>;

const FACTS: [Fact; 4] = [
    ("downstream shut", |stream| stream.shut.downstream),
    ("upstream shut", |stream| stream.shut.upstream),
    ("TLS downstream", |stream| stream.tls.downstream),
    ("TLS upstream", |stream| stream.tls.upstream),
];

/// Says what an event leads to.
fn outcome(stream: &Stream, event: Event) -> String {
    let mut next = *stream;
    match next.on(event) {
        Err(Illegal::Unexpected(..)) => {
            assert_eq!(next, *stream, "as before");
            "unexpected".into()
        }
        Err(illegal) => {
            assert_eq!(next, *stream, "as before");
            illegal.to_string()
        }
        Ok(actions) => {
            let mut words = format!("{:?}", next.state);
            for side in SIDES {
                if next.shut.has(side) && !stream.shut.has(side) {
                    let _ = write!(words, ", {} shut", side.as_str());
                }
            }
            let _ = write!(words, ": {:?}", actions.as_slice());
            words
        }
    }
}

/// Says what an event leads to in a state, by the facts that it depends on.
fn row(streams: &[Stream], event: Event) -> Row {
    let found: Vec<String> = streams.iter().map(|it| outcome(it, event)).collect();
    // The fewest facts that decide.
    let mut sets: Vec<u32> = (0..1 << FACTS.len()).collect();
    sets.sort_by_key(|set: &u32| (set.count_ones(), *set));
    for set in sets {
        let mut by_facts: BTreeMap<String, &String> = BTreeMap::new();
        let decided = streams.iter().zip(&found).all(|(stream, outcome)| {
            let mut guard = Vec::new();
            for (at, (name, holds)) in FACTS.iter().enumerate() {
                if set & 1 << at != 0 {
                    let not = if holds(stream) { "" } else { "not " };
                    guard.push(format!("{not}{name}"));
                }
            }
            *by_facts.entry(guard.join(", ")).or_insert(outcome) == outcome
        });
        if decided {
            return by_facts
                .into_iter()
                .map(|(guard, outcome)| (guard, outcome.clone()))
                .collect();
        }
    }
    unreachable!("all facts together decide")
}

/// Says an event of every kind of cut once.
fn merged(mut events: Vec<String>) -> Vec<String> {
    let mut at = 0;
    while let Some(event) = events.get(at).cloned() {
        if let Some((before, after)) = event.split_once("Reset") {
            let of = |cut: &Cut| format!("{before}{cut:?}{after}");
            if CUTS.iter().all(|cut| events.contains(&of(cut))) {
                events.retain(|it| *it == event || !CUTS.iter().any(|cut| *it == of(cut)));
                events[at] = format!("{before}any{after}");
            }
        }
        at += 1;
    }
    events
}

/// Lists every transition.
fn listed() -> String {
    let mut states: Vec<(State, Vec<Stream>)> = Vec::new();
    for stream in reachable() {
        match states.iter_mut().find(|(state, _)| *state == stream.state) {
            Some((_, streams)) => streams.push(stream),
            None => states.push((stream.state, vec![stream])),
        }
    }
    states.sort_by_key(|(state, _)| format!("{state:?}"));
    let mut text = String::new();
    for (state, streams) in states {
        let _ = writeln!(text, "{state:?}");
        // Events that lead to the same stand in one line.
        let mut rows: Vec<(Vec<String>, Row)> = Vec::new();
        for event in events() {
            let row = row(&streams, event);
            match rows.iter_mut().find(|(_, known)| *known == row) {
                Some((events, _)) => events.push(format!("{event:?}")),
                None => rows.push((vec![format!("{event:?}")], row)),
            }
        }
        for (events, row) in rows {
            if matches!(row.as_slice(), [(_, only)] if only == "unexpected") {
                continue;
            }
            let _ = writeln!(text, "  {}", merged(events).join(" | "));
            for (guard, outcome) in row {
                let guard = match guard.as_str() {
                    "" => String::new(),
                    guard => format!("if {guard}: "),
                };
                let _ = writeln!(text, "    {guard}{outcome}");
            }
        }
    }
    text
}

#[test]
fn transitions_all_of_them_are_as_listed() {
    let found = listed();
    if let Some(path) = std::env::var_os("TRANSITIONS") {
        std::fs::write(path, &found).unwrap();
    }
    for (found, listed) in found.lines().zip(LISTED.lines()) {
        assert_eq!(found, listed);
    }
    assert_eq!(found.lines().count(), LISTED.lines().count());
}

/// What became of the legs on one way through the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ledger {
    ended: Legs,
    cut: Legs,
    closed: Legs,
    blamed: bool,
}

impl Ledger {
    /// Holds an action against what must always hold.
    fn take(&mut self, action: Action, todo: &[Action]) {
        let side = match action {
            Action::Cut(side) | Action::Abandon(side) | Action::Truncate(side) => Some(side),
            Action::Discard(side) | Action::ShutWrite(side) | Action::Leave(side) => Some(side),
            Action::Linger(side) | Action::Hear(side) | Action::Settle(side) => Some(side),
            Action::Part(side) | Action::Close(side) => Some(side),
            Action::Keep | Action::Drain | Action::Show => Some(Side::Downstream),
            _ => None,
        };
        if let Some(side) = side {
            assert!(!self.closed.has(side), "{action:?} of a closed leg");
        }
        match action {
            Action::ShutWrite(side) | Action::Leave(side) => {
                assert!(!self.cut.has(side), "an end behind a cut");
                self.ended.set(side);
            }
            Action::Truncate(side) => {
                assert!(!self.cut.has(side));
                self.ended.set(side);
            }
            Action::Cut(side) => self.cut.set(side),
            Action::Close(Side::Upstream) => self.closed.upstream = true,
            Action::Close(Side::Downstream) => self.closed.downstream = true,
            Action::Blame | Action::Complete(_) | Action::Forgive(_) => self.blamed = true,
            Action::Part(side) | Action::Linger(side) | Action::Hear(side) => {
                // Nobody waits for a leg whose end was not even begun, save to forgive its peer.
                let forgives = todo.len() == 1;
                assert!(self.ended.has(side) || forgives, "{action:?} of {self:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn every_way_through_the_table_closes_both_legs_once_and_keeps_what_was_sent() {
    let mut waiting = VecDeque::from([(Stream::new(), Ledger::default())]);
    let mut seen: HashSet<(Stream, Ledger)> = waiting.iter().cloned().collect();
    while let Some((stream, ledger)) = waiting.pop_front() {
        let mut moves = 0;
        for event in events() {
            let (mut next, mut ledger) = (stream, ledger.clone());
            let Ok(todo) = next.on(event) else { continue };
            moves += 1;
            if matches!(event, Event::Alerted(_)) {
                ledger.ended.downstream = true;
            }
            for (at, action) in todo.iter().enumerate() {
                assert!(
                    !action.waits() || at + 1 == todo.len(),
                    "{stream:?} {event:?}: {todo:?}"
                );
                ledger.take(*action, &todo);
            }
            if next.is_finished() {
                assert!(ledger.closed.downstream && ledger.blamed, "{ledger:?}");
                // Whoever had an upstream leg has closed it.
                assert!(
                    ledger.closed.upstream || !was_established(&stream),
                    "{stream:?}"
                );
            }
            if seen.insert((next, ledger.clone())) {
                waiting.push_back((next, ledger));
            }
        }
        assert_eq!(moves == 0, stream.is_finished(), "{stream:?} is a dead end");
    }
}

/// Whether a stream that is about to finish had two legs.
fn was_established(stream: &Stream) -> bool {
    !matches!(
        stream.state,
        State::Opening | State::Telling(After::Part(_)) | State::Told(After::Part(_))
    ) && !matches!(
        stream.state,
        State::LingeringDownstream(_)
            | State::PartingDownstream(_)
            | State::Keeping
            | State::Draining
    )
}

/// What the engine would do for a row of events.
fn story(events: &[Event]) -> Vec<Action> {
    let mut stream = Stream::new();
    let mut all = Vec::new();
    for event in events {
        all.extend(stream.on(*event).unwrap());
    }
    assert!(stream.is_finished(), "{stream:?}");
    all
}

const TLS: Legs = Legs {
    downstream: true,
    upstream: true,
};
const BARE: Legs = Legs {
    downstream: false,
    upstream: false,
};

#[test]
fn reset_of_a_sender_reaches_the_receiver_behind_all_that_was_sent() {
    use Action::{Blame, Close, Cut as Reset, Keep, Settle};
    use Side::{Downstream, Upstream};
    let cut = Event::Cut(Downstream, Cut::Reset);
    assert_eq!(
        story(&[Event::Relay(TLS), cut, Event::Done, Event::Done]),
        [
            Blame,
            Reset(Downstream),
            Settle(Upstream),
            Reset(Upstream),
            Close(Upstream),
            Keep,
            Close(Downstream)
        ]
    );
}

#[test]
fn truncation_stays_one_where_tls_shows_it_and_is_a_reset_elsewhere() {
    let cut = Event::Cut(Side::Upstream, Cut::Truncated);
    let shown = story(&[
        Event::Relay(TLS),
        cut,
        Event::Done,
        Event::Done,
        Event::Done,
        Event::Done,
    ]);
    assert!(shown.contains(&Action::Truncate(Side::Downstream)));
    assert!(!shown.contains(&Action::Cut(Side::Downstream)));
    let bare = story(&[Event::Relay(BARE), cut, Event::Done, Event::Done]);
    assert!(bare.contains(&Action::Cut(Side::Downstream)));
    let unseen = story(&[Event::Relay(BARE), cut, Event::Done, Event::Unseen]);
    assert!(unseen.contains(&Action::Unseen));
}

#[test]
fn peer_that_ended_and_closed_for_good_has_cut_nothing() {
    let (up, down) = (Side::Upstream, Side::Downstream);
    let mut events = vec![Event::Relay(TLS), Event::Ended(down), Event::Shut(up)];
    events.extend([Event::Closed(down), Event::Done, Event::Done, Event::Done]);
    let actions = story(&events);
    assert!(actions.contains(&Action::Forgive(down)), "{actions:?}");
    assert!(!actions.contains(&Action::Blame), "{actions:?}");
}

#[test]
fn what_a_lost_leg_had_sent_is_delivered_and_its_end_tells_how_it_was() {
    let (up, down) = (Side::Upstream, Side::Downstream);
    let refused = [Event::Relay(TLS), Event::Closed(up)];
    let truncated = Event::Cut(up, Cut::Truncated);
    let actions = story(&[&refused[..], &[truncated], &[Event::Done; 4]].concat());
    assert!(actions.contains(&Action::Truncate(down)), "{actions:?}");
    // A reset that a write met is what happened, whatever a read says of it later.
    let reset = [Event::Relay(TLS), Event::Unwritable(up, Cut::Reset)];
    let actions = story(&[&reset[..], &[truncated], &[Event::Done; 2]].concat());
    assert!(actions.contains(&Action::Cut(down)), "{actions:?}");
}

#[test]
fn both_ends_complete_a_stream_by_the_one_that_came_last() {
    let (up, down) = (Side::Upstream, Side::Downstream);
    let mut events = vec![Event::Relay(TLS), Event::Ended(up), Event::Ended(down)];
    events.extend([Event::Shut(up), Event::Shut(down)]);
    events.extend([Event::Done; 4]);
    let actions = story(&events);
    assert!(actions.contains(&Action::Complete(up)), "{actions:?}");
    assert!(actions.contains(&Action::Watch(down)), "{actions:?}");
}

#[test]
fn event_after_the_end_is_illegal_and_so_is_a_second_end() {
    let mut stream = Stream::refused();
    stream.on(Event::Failed(Cause::Local)).unwrap();
    assert_eq!(stream.on(Event::Idle), Err(Illegal::Finished(Event::Idle)));
    let mut stream = Stream::new();
    stream.on(Event::Relay(BARE)).unwrap();
    stream.on(Event::Ended(Side::Upstream)).unwrap();
    let again = stream.on(Event::Ended(Side::Upstream));
    assert_eq!(again, Err(Illegal::EndedTwice(Side::Upstream)));
    let early = stream.on(Event::Served);
    assert!(matches!(early, Err(Illegal::Unexpected(_, Event::Served))));
}
