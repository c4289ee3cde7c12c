//! Bounds how much is found out at a time: a flood of CSRs must not make the authority a scanner.

use super::super::limits;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Which checks run.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Nodes that are being asked about, and those that were a moment ago.
    nodes: HashMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Busy,
    Free { since: Instant },
}

/// The right to ask about one node; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    node: String,
}

impl Slots {
    /// Takes a slot; none if all are taken, or the node is asked about, or was a moment ago.
    pub(super) fn enter(self: &Arc<Self>, node: &str, now: Instant) -> Option<Slot> {
        let mut state = self.0.lock();
        state.nodes.retain(|_, node| match node {
            Node::Busy => true,
            Node::Free { since } => now < *since + limits::CHECK_INTERVAL,
        });
        if state.running >= limits::CHECKS || state.nodes.contains_key(node) {
            return None;
        }
        state.running += 1;
        state.nodes.insert(node.to_owned(), Node::Busy);
        Some(Slot {
            slots: Arc::clone(self),
            node: node.to_owned(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.0.lock();
        state.running -= 1;
        let since = Instant::now();
        let node = std::mem::take(&mut self.node);
        state.nodes.insert(node, Node::Free { since });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_asked_about_once_at_a_time_and_not_at_once_again() {
        let slots = Arc::new(Slots::default());
        let now = Instant::now();
        let slot = slots.enter("w", now).unwrap();
        assert!(slots.enter("w", now).is_none());
        assert!(slots.enter("v", now).is_some());
        drop(slot);
        assert!(slots.enter("w", Instant::now()).is_none());
        let later = Instant::now() + limits::CHECK_INTERVAL;
        assert!(slots.enter("w", later).is_some());
    }

    #[test]
    fn checks_of_all_nodes_together_are_bounded() {
        let slots = Arc::new(Slots::default());
        let now = Instant::now();
        let enter = |index: usize| slots.enter(&format!("node-{index}"), now);
        let mut held: Vec<Slot> = (0..limits::CHECKS).map_while(enter).collect();
        assert_eq!(held.len(), limits::CHECKS);
        assert!(enter(limits::CHECKS).is_none());
        held.pop();
        assert!(enter(limits::CHECKS).is_some());
    }
}
