//! Chooses the gateways that an agent holds, by rendezvous hashing: agents and gateways compute the
//! same choice from the same list, without a directory.

use std::cmp::Reverse;

use ring::digest;

/// Most gateways of which all are held.
const ALL_OF: usize = 3;

/// How many are held of more gateways: one may go away and streams go on.
const OF_MORE: usize = 2;

/// Ranks gateways for an agent, best first, as indices into `gateways`.
///
/// The score of a gateway is SHA-256 over the length of `identity` in bytes (64 bits, big endian),
/// `identity`, and the gateway's name; the highest is best. So the order among some gateways does
/// not depend on others, or on the order of the list: if one is added or removed, only agents that
/// hold it move. Of two equal names the one that comes first is better.
#[must_use]
pub fn rank<G: AsRef<[u8]>>(identity: &[u8], gateways: &[G]) -> Vec<usize> {
    let mut scored: Vec<_> = gateways
        .iter()
        .enumerate()
        .map(|(index, gateway)| (Reverse(score(identity, gateway.as_ref())), index))
        .collect();
    scored.sort_unstable();
    scored.into_iter().map(|(_, index)| index).collect()
}

/// Says how many of so many gateways an agent holds: what is configured, else all of up to three,
/// and two of more. Never 0 while there is one.
#[must_use]
pub fn hold(configured: Option<usize>, gateways: usize) -> usize {
    let default = if gateways <= ALL_OF { ALL_OF } else { OF_MORE };
    configured.unwrap_or(default).max(1).min(gateways)
}

fn score(identity: &[u8], gateway: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(identity.len() as u64).to_be_bytes());
    context.update(identity);
    context.update(gateway);
    let mut score = [0; 32];
    score.copy_from_slice(context.finish().as_ref());
    score
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn gateways(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:8443")).collect()
    }

    fn held(agent: usize, gateways: &[String], count: usize) -> BTreeSet<&str> {
        let order = rank(format!("worker-{agent}").as_bytes(), gateways);
        let best = order.into_iter().take(count);
        best.map(|index| gateways[index].as_str()).collect()
    }

    #[test]
    fn rank_is_known_and_independent_of_the_list() {
        let list = gateways(5);
        let order = |list: &[String]| -> Vec<String> {
            let order = rank(b"worker-1", list);
            order.into_iter().map(|index| list[index].clone()).collect()
        };
        let known = order(&list);
        let backwards: Vec<_> = list.iter().rev().cloned().collect();
        assert_eq!(order(&backwards), known);
        let last_digits: Vec<_> = known.iter().map(|name| &name[7..8]).collect();
        assert_eq!(last_digits.concat(), "13402");
        assert_eq!(rank::<&[u8]>(b"worker-1", &[]), [0; 0]);
    }

    #[test]
    fn rank_twins_and_concatenations_are_told_apart() {
        assert_eq!(rank(b"a", &["x", "x"]), [0, 1]);
        assert_ne!(score(b"ab", b"c"), score(b"a", b"bc"));
    }

    #[test]
    fn rank_gateway_added_or_removed_moves_only_what_it_must() {
        const AGENTS: usize = 2000;
        let (six, five) = (gateways(6), gateways(5));
        let mut moved = 0;
        for agent in 0..AGENTS {
            let (before, after) = (held(agent, &five, 2), held(agent, &six, 2));
            let new: Vec<_> = after.difference(&before).collect();
            assert!(new.is_empty() || new == [&"10.0.0.5:8443"], "{new:?}");
            moved += new.len();
        }
        // A sixth of 4000 places, within a fifth.
        assert!((533..=800).contains(&moved), "{moved}");
    }

    #[test]
    fn rank_spreads_agents_evenly() {
        const AGENTS: usize = 2000;
        let list = gateways(5);
        for gateway in &list {
            let holds = |agent: &usize| held(*agent, &list, 2).contains(gateway.as_str());
            let agents = (0..AGENTS).filter(holds).count();
            assert!((700..=900).contains(&agents), "{gateway}: {agents}");
        }
    }

    #[test]
    fn hold_all_of_three_and_two_of_more() {
        let defaults: Vec<_> = (0..7).map(|count| hold(None, count)).collect();
        assert_eq!(defaults, [0, 1, 2, 3, 2, 2, 2]);
        assert_eq!((hold(Some(4), 9), hold(Some(4), 3)), (4, 3));
        assert_eq!((hold(Some(0), 9), hold(Some(0), 0)), (1, 0));
    }
}
