use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::*;

/// What every event leads to, from every state.
const LISTED: &str = include_str!("transitions.txt");

/// A reason of each kind: the answer, no, and seen.
const REASONS: [FailReason; 3] = [FailReason::Refused, FailReason::Denied, FailReason::Seen];

const fn agent(parked: usize, can_dial: bool) -> Candidate {
    Candidate { parked, can_dial }
}

fn failed(attempt: Attempt, reason: FailReason) -> Event {
    Event::Failed(attempt, reason, "why".into())
}

/// Goes through events and the actions that must follow them.
fn goes(candidates: &[Candidate], first: Action, steps: &[(Event, Action)]) -> Opening {
    let (mut opening, action) = Opening::new(candidates);
    assert_eq!(action, first);
    for (event, expected) in steps {
        let action = opening.on(event.clone());
        assert_eq!(action.as_ref(), Ok(expected), "{event:?}");
    }
    opening
}

/// Every event of every connection that an opening may have.
fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Taken,
        Event::NoneParked,
        Event::Arrived,
        Event::CannotDial("gone".into()),
        Event::TimedOut,
        Event::Deadline,
    ];
    for attempt in 0..limits::TUNNEL_TRIES {
        events.extend([
            Event::Accepted(attempt),
            Event::Connected(attempt),
            Event::Died(attempt),
        ]);
        events.extend(REASONS.map(|reason| failed(attempt, reason)));
    }
    events
}

#[test]
fn opening_parked_connection_is_the_stream_after_connected() {
    let opening = goes(
        &[agent(2, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (Event::Accepted(0), Action::Keep(0)),
            (Event::Connected(0), Action::Done(0)),
        ],
    );
    assert_eq!(opening.state, State::Over);
}

#[test]
fn opening_dead_parked_ones_are_followed_by_a_fresh_one_and_the_next_agent() {
    goes(
        &[agent(5, true), agent(0, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (Event::TimedOut, Action::TakeParked(0)),
            (Event::Taken, Action::Send(0, 1)),
            (Event::Died(1), Action::AskDial(0)),
            (Event::TimedOut, Action::AskDial(1)),
            (Event::Arrived, Action::Send(1, 2)),
            (Event::Accepted(2), Action::Keep(2)),
            (Event::Connected(2), Action::Done(2)),
        ],
    );
}

#[test]
fn opening_slow_agent_that_refuses_the_second_connection_wins_on_the_first() {
    goes(
        &[agent(2, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (Event::TimedOut, Action::TakeParked(0)),
            (Event::Taken, Action::Send(0, 1)),
            (failed(1, FailReason::Seen), Action::Extend(0)),
            (Event::TimedOut, Action::Wait),
            (Event::Accepted(0), Action::Keep(0)),
            (Event::Connected(0), Action::Done(0)),
        ],
    );
}

#[test]
fn opening_late_acceptance_gives_up_what_was_asked_for() {
    goes(
        &[agent(1, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (Event::TimedOut, Action::AskDial(0)),
            (Event::Accepted(0), Action::Keep(0)),
            (Event::Connected(0), Action::Done(0)),
        ],
    );
}

#[test]
fn opening_fresh_connection_of_the_last_agent_is_waited_for() {
    let failure = OpenFailure::Deadline {
        agent: 0,
        awaited: Awaited::Fresh,
    };
    goes(
        &[agent(0, true)],
        Action::AskDial(0),
        &[
            (Event::TimedOut, Action::Wait),
            (Event::TimedOut, Action::Wait),
            (Event::Deadline, Action::Fail(failure)),
        ],
    );
}

#[test]
fn opening_failure_of_the_target_is_the_answer() {
    for reason in FailReason::ALL.into_iter().filter(|it| it.is_answer()) {
        for accepted in [false, true] {
            let mut steps = vec![(Event::Taken, Action::Send(0, 0))];
            if accepted {
                steps.push((Event::Accepted(0), Action::Keep(0)));
            }
            let failure = OpenFailure::Answer {
                agent: 0,
                reason,
                words: "why".into(),
            };
            assert_eq!(failure.to_string(), "why");
            steps.push((failed(0, reason), Action::Fail(failure)));
            goes(
                &[agent(2, true), agent(1, true)],
                Action::TakeParked(0),
                &steps,
            );
        }
    }
}

#[test]
fn opening_agent_that_has_not_dialled_is_followed_by_the_next_agent() {
    for reason in FailReason::ALL.into_iter().filter(|it| !it.is_answer()) {
        goes(
            &[agent(2, true), agent(1, true)],
            Action::TakeParked(0),
            &[
                (Event::Taken, Action::Send(0, 0)),
                (Event::Accepted(0), Action::Keep(0)),
                (failed(0, reason), Action::TakeParked(1)),
            ],
        );
    }
    let failure = OpenFailure::Tunnel {
        agent: 0,
        trouble: Trouble::Refused {
            reason: FailReason::Denied,
            words: "why".into(),
        },
        tries: 1,
    };
    assert_eq!(
        failure.to_string(),
        "no agent accepted within 1 tries; the last: the agent refused the open (denied): why"
    );
    goes(
        &[agent(2, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (failed(0, FailReason::Denied), Action::Fail(failure)),
        ],
    );
}

#[test]
fn opening_connection_lost_after_acceptance_is_not_tried_elsewhere() {
    goes(
        &[agent(2, true), agent(1, true)],
        Action::TakeParked(0),
        &[
            (Event::Taken, Action::Send(0, 0)),
            (Event::Accepted(0), Action::Keep(0)),
            (Event::Died(0), Action::Fail(OpenFailure::Lost { agent: 0 })),
        ],
    );
}

#[test]
fn opening_without_agents_fails_at_once() {
    for candidates in [&[][..], &[agent(0, false)], &[agent(0, false); 20]] {
        goes(candidates, Action::Fail(OpenFailure::NoAgent), &[]);
    }
}

#[test]
fn opening_hint_of_parked_ones_may_be_wrong() {
    goes(
        &[agent(9, true)],
        Action::TakeParked(0),
        &[
            (Event::NoneParked, Action::AskDial(0)),
            (
                Event::CannotDial("no route".into()),
                Action::Fail(OpenFailure::Tunnel {
                    agent: 0,
                    trouble: Trouble::CannotDial("no route".into()),
                    tries: 2,
                }),
            ),
        ],
    );
}

#[test]
fn opening_event_that_cannot_be_is_refused_and_changes_nothing() {
    let (mut opening, _) = Opening::new(&[agent(1, true)]);
    let before = opening.clone();
    for event in [Event::Arrived, Event::Accepted(0), Event::TimedOut] {
        let error = opening.on(event.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("an opening that is taking a parked connection got {event:?}")
        );
        assert_eq!(opening, before);
    }
}

/// What a caller has in its hands, beside an opening.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Hands {
    /// Connections that are open.
    open: BTreeSet<Attempt>,
    /// One is being taken or asked for.
    getting: bool,
    tries: usize,
    accepted: bool,
    done: bool,
    failed: bool,
}

impl Hands {
    /// Does what an action says, and checks what must always hold.
    fn does(&mut self, event: Option<&Event>, action: &Action) {
        assert!(!self.done && !self.failed, "{action:?} after the end");
        match event {
            Some(Event::Failed(attempt, reason, _)) => {
                self.open.remove(attempt);
                // It has not dialled, so nothing was begun.
                self.accepted &= reason.is_answer();
            }
            Some(Event::Died(attempt)) => {
                self.open.remove(attempt);
            }
            Some(Event::Taken | Event::Arrived) => {
                assert!(std::mem::take(&mut self.getting));
                assert!(matches!(action, Action::Send(..)));
            }
            Some(Event::NoneParked | Event::CannotDial(_)) => {
                assert!(std::mem::take(&mut self.getting));
            }
            _ => {}
        }
        match action {
            Action::TakeParked(_) | Action::AskDial(_) => {
                assert!(!self.accepted, "asked again after an acceptance");
                self.getting = true;
                self.tries += 1;
                assert!(self.tries <= limits::TUNNEL_TRIES);
            }
            Action::Send(_, attempt) => assert!(self.open.insert(*attempt)),
            Action::Extend(_) => {
                self.getting = false;
                assert!(!self.open.is_empty(), "nothing to wait for");
            }
            Action::Wait => assert!(self.getting || !self.open.is_empty(), "nothing to wait for"),
            Action::Keep(attempt) => {
                assert!(self.open.contains(attempt));
                self.open.retain(|each| each == attempt);
                self.getting = false;
                self.accepted = true;
            }
            Action::Done(attempt) => {
                assert_eq!(self.open, BTreeSet::from([*attempt]), "one connection");
                assert!(self.accepted && !self.getting);
                self.done = true;
            }
            Action::Fail(_) => self.failed = true,
        }
    }

    fn over(&self) -> bool {
        self.done || self.failed
    }
}

/// The shape of an action: its agent and attempt do not matter.
fn shape(action: &Action) -> &'static str {
    match action {
        Action::TakeParked(_) => "TakeParked",
        Action::AskDial(_) => "AskDial",
        Action::Send(..) => "Send",
        Action::Extend(_) => "Extend",
        Action::Wait => "Wait",
        Action::Keep(_) => "Keep",
        Action::Done(_) => "Done",
        Action::Fail(failure) => match failure {
            OpenFailure::NoAgent => "Fail NoAgent",
            OpenFailure::Answer { .. } => "Fail Answer",
            OpenFailure::Tunnel { .. } => "Fail Tunnel",
            OpenFailure::Lost { .. } => "Fail Lost",
            OpenFailure::Deadline { .. } => "Fail Deadline",
        },
    }
}

fn event_shape(event: &Event, opening: &Opening) -> String {
    let which = |attempt: &Attempt| match opening.state {
        State::Sent(last) if last == *attempt => "last",
        State::Accepted(..) => "accepted",
        _ => "earlier",
    };
    match event {
        Event::CannotDial(_) => "CannotDial".to_owned(),
        Event::Accepted(attempt) => format!("Accepted({})", which(attempt)),
        Event::Connected(attempt) => format!("Connected({})", which(attempt)),
        Event::Died(attempt) => format!("Died({})", which(attempt)),
        Event::Failed(attempt, reason, _) => {
            let reason = match reason {
                FailReason::Seen => "seen",
                reason if reason.is_answer() => "answer",
                _ => "not dialled",
            };
            format!("Failed({}, {reason})", which(attempt))
        }
        event => format!("{event:?}"),
    }
}

/// Goes every way through openings with up to two agents, and lists what happens.
fn listed() -> String {
    let mut table: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let one = [agent(0, true), agent(1, false), agent(2, true)];
    let mut todo = Vec::new();
    for first in one {
        let two = one.iter().map(|second| vec![first, *second]);
        for candidates in two.chain([vec![first]]) {
            let (opening, action) = Opening::new(&candidates);
            let mut hands = Hands::default();
            hands.does(None, &action);
            todo.push((opening, hands));
        }
    }
    let mut known: HashSet<_> = todo.iter().cloned().collect();
    while let Some((opening, hands)) = todo.pop() {
        for event in events() {
            let mut next = (opening.clone(), hands.clone());
            let Ok(action) = next.0.on(event.clone()) else {
                assert_eq!(next.0, opening, "refused, but changed");
                continue;
            };
            next.1.does(Some(&event), &action);
            assert_eq!(next.0.state == State::Over, next.1.over());
            let key = (opening.state.name(), event_shape(&event, &opening));
            table.entry(key).or_default().insert(shape(&action));
            // What went wrong last decides words alone.
            if next.0.trouble.is_some() {
                next.0.trouble = Some((0, Trouble::Died));
            }
            if known.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    let mut text = String::new();
    let mut last = "";
    for ((state, event), actions) in &table {
        if *state != last {
            text += &format!("{state}\n");
            last = state;
        }
        let actions: Vec<_> = actions.iter().copied().collect();
        text += &format!("  {event}: {}\n", actions.join(" | "));
    }
    text
}

#[test]
fn transitions_all_of_them_are_as_listed_and_keep_the_rules() {
    let found = listed();
    if let Some(path) = std::env::var_os("TRANSITIONS") {
        std::fs::write(path, &found).unwrap();
    }
    for (found, listed) in found.lines().zip(LISTED.lines()) {
        assert_eq!(found, listed);
    }
    assert_eq!(found.lines().count(), LISTED.lines().count());
}

proptest! {
    #[test]
    fn opening_always_ends_and_keeps_the_rules(
        candidates in prop::collection::vec((0..5usize, any::<bool>()), 0..8),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let candidates: Vec<_> = candidates
            .into_iter()
            .map(|(parked, can_dial)| agent(parked, can_dial))
            .collect();
        let (mut opening, action) = Opening::new(&candidates);
        let mut hands = Hands::default();
        hands.does(None, &action);
        let all = events();
        for choice in choices {
            let possible: Vec<_> = all
                .iter()
                .filter(|event| **event != Event::Deadline)
                .filter(|event| opening.clone().on((*event).clone()).is_ok())
                .collect();
            if possible.is_empty() {
                break;
            }
            let event = possible[choice.index(possible.len())];
            let action = opening.on(event.clone()).unwrap();
            hands.does(Some(event), &action);
        }
        if !hands.over() {
            // Without an answer it ends at its deadline, and by itself when all connections end.
            let mut patient = (opening.clone(), hands.clone());
            let action = patient.0.on(Event::Deadline).unwrap();
            patient.1.does(Some(&Event::Deadline), &action);
            prop_assert!(patient.1.failed);
            for _ in 0..100 {
                let mut ends = vec![Event::NoneParked, Event::CannotDial("".into())];
                ends.extend((0..limits::TUNNEL_TRIES).map(Event::Died));
                let end = ends.into_iter().find(|end| opening.clone().on(end.clone()).is_ok());
                let Some(end) = end else { break };
                let action = opening.on(end.clone()).unwrap();
                hands.does(Some(&end), &action);
            }
            prop_assert!(hands.failed);
        }
    }
}
