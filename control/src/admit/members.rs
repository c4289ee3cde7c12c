//! Says which gateways there are by their Leases: who has not renewed one for as long as it
//! promised is gone.
//!
//! Every look is a whole list, so whatever was missed is seen at the next one. Time counts only
//! while the API server answers: what it could not tell is not held against anybody, and what was
//! known last stays.

use eyesplice_authority::apiserver::{Listed, Member};
use std::collections::HashMap;
use std::time::Duration;

/// Shortest and longest time that a Lease may promise; others are moved into it.
const PROMISED: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(3)..=Duration::from_secs(600);

/// What is known of the Leases.
#[derive(Debug, Default)]
pub(super) struct Roll {
    seen: HashMap<String, Seen>,
    present: Vec<Member>,
}

/// One Lease.
#[derive(Debug)]
struct Seen {
    renewal: String,
    /// How long it was the same, as far as was looked.
    same: Duration,
}

impl Roll {
    /// Takes a whole list, `passed` after the last one; returns whether other gateways are present
    /// than before.
    pub(super) fn look(&mut self, listed: Vec<Listed>, passed: Duration) -> bool {
        let mut seen = HashMap::new();
        let mut present = Vec::new();
        for lease in listed {
            let before = self.seen.remove(&lease.member.name);
            let same = match before {
                Some(before) if before.renewal == lease.renewal => before.same + passed,
                _ => Duration::ZERO,
            };
            let promised = lease.duration.clamp(*PROMISED.start(), *PROMISED.end());
            let name = lease.member.name.clone();
            if same < promised {
                present.push(lease.member);
            }
            let renewal = lease.renewal;
            seen.insert(name, Seen { renewal, same });
        }
        present.sort_by(|a, b| a.name.cmp(&b.name));
        self.seen = seen;
        let differs = self.present != present;
        self.present = present;
        differs
    }

    /// The gateways that are present, by name.
    pub(super) fn present(&self) -> &[Member] {
        &self.present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(10);

    fn lease(name: &str, renewal: u32) -> Listed {
        let host = name.bytes().next().unwrap();
        Listed {
            member: Member {
                name: name.to_owned(),
                tunnel: ([10, 0, 0, host], 8133).into(),
                peer: None,
            },
            renewal: renewal.to_string(),
            duration: 4 * LOOK,
        }
    }

    fn names(roll: &Roll) -> Vec<&str> {
        roll.present()
            .iter()
            .map(|each| each.name.as_str())
            .collect()
    }

    #[test]
    fn gateway_that_comes_late_is_there_at_the_next_look() {
        let mut roll = Roll::default();
        assert!(roll.look(vec![lease("a", 1)], LOOK));
        assert!(!roll.look(vec![lease("a", 2)], LOOK));
        assert!(roll.look(vec![lease("b", 1), lease("a", 3)], LOOK));
        assert_eq!(names(&roll), ["a", "b"]);
    }

    #[test]
    fn short_list_after_a_long_one_is_what_there_is() {
        let mut roll = Roll::default();
        roll.look(vec![lease("a", 1), lease("b", 1), lease("c", 1)], LOOK);
        assert!(roll.look(vec![lease("b", 2)], LOOK));
        assert_eq!(names(&roll), ["b"]);
        assert!(roll.look(Vec::new(), LOOK));
        assert!(names(&roll).is_empty());
    }

    #[test]
    fn gateway_that_renews_no_more_is_gone_when_it_promised_and_back_when_it_does() {
        let mut roll = Roll::default();
        roll.look(vec![lease("a", 0), lease("b", 0)], LOOK);
        for renewal in 1..4 {
            assert!(!roll.look(vec![lease("a", renewal), lease("b", 0)], LOOK));
        }
        assert!(roll.look(vec![lease("a", 4), lease("b", 0)], LOOK));
        assert_eq!(names(&roll), ["a"]);
        assert!(!roll.look(vec![lease("a", 5), lease("b", 0)], LOOK));
        assert!(roll.look(vec![lease("a", 6), lease("b", 1)], LOOK));
        assert_eq!(names(&roll), ["a", "b"]);
    }

    #[test]
    fn time_without_an_api_server_is_held_against_nobody() {
        let mut roll = Roll::default();
        roll.look(vec![lease("a", 1), lease("b", 1)], LOOK);
        // It was away for an hour, in which nobody could renew. Whoever looks counts one look.
        assert!(!roll.look(vec![lease("a", 1), lease("b", 1)], LOOK));
        assert!(!roll.look(vec![lease("a", 2), lease("b", 2)], LOOK));
        assert_eq!(names(&roll), ["a", "b"]);
    }

    #[test]
    fn promise_that_nobody_could_keep_is_moved_into_its_bounds() {
        let mut roll = Roll::default();
        let never = |renewal| Listed {
            duration: Duration::ZERO,
            ..lease("a", renewal)
        };
        roll.look(vec![never(1)], LOOK);
        assert_eq!(names(&roll), ["a"]);
        let ever = || Listed {
            duration: Duration::from_secs(u64::from(u32::MAX)),
            ..lease("b", 1)
        };
        roll.look(vec![ever()], LOOK);
        for _ in 0..60 {
            roll.look(vec![ever()], LOOK);
        }
        assert!(names(&roll).is_empty());
    }

    #[test]
    fn gateway_that_moves_is_at_its_new_address() {
        let mut roll = Roll::default();
        roll.look(vec![lease("a", 1)], LOOK);
        let mut moved = lease("a", 2);
        moved.member.tunnel = ([10, 9, 9, 9], 8133).into();
        assert!(roll.look(vec![moved.clone()], LOOK));
        assert_eq!(roll.present(), [moved.member]);
    }
}
