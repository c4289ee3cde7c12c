//! Finds who may carry a stream without a look at all agents.
//!
//! Agents are listed under each node, network and suffix of their grants. A route leads to a few of
//! these lists: a node's to one, an address's to one for each length of prefix that any grant has,
//! a name's to one for each of its labels.

use crate::seam::{AgentGrant, Route};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

/// What a list of agents is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Node(Arc<str>),
    Network(IpNet),
    Suffix(String),
}

impl Place {
    fn network(&self) -> Option<IpNet> {
        match self {
            Self::Network(network) => Some(*network),
            Self::Node(_) | Self::Suffix(_) => None,
        }
    }
}

/// Agents, each with a key of type `K`, by what they were granted.
#[derive(Debug)]
pub struct RouteIndex<K> {
    lists: HashMap<Place, HashSet<K>>,
    /// How many entries networks of each length have.
    v4: BTreeMap<u8, usize>,
    v6: BTreeMap<u8, usize>,
}

impl<K> Default for RouteIndex<K> {
    fn default() -> Self {
        Self {
            lists: HashMap::new(),
            v4: BTreeMap::new(),
            v6: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> RouteIndex<K> {
    /// Lists an agent under all that it was granted.
    pub fn insert(&mut self, key: &K, grant: &AgentGrant) {
        for place in granted(grant) {
            let network = place.network();
            let new = self.lists.entry(place).or_default().insert(key.clone());
            if let (Some(network), true) = (network, new) {
                let lengths = self.lengths_like(network.addr());
                *lengths.entry(network.prefix_len()).or_default() += 1;
            }
        }
    }

    /// Takes off an agent that was listed with this grant.
    pub fn remove(&mut self, key: &K, grant: &AgentGrant) {
        for place in granted(grant) {
            let Some(list) = self.lists.get_mut(&place) else {
                continue;
            };
            let gone = list.remove(key);
            if list.is_empty() {
                self.lists.remove(&place);
            }
            if let (Some(network), true) = (place.network(), gone) {
                let lengths = self.lengths_like(network.addr());
                let length = network.prefix_len();
                if let Some(count) = lengths.get_mut(&length) {
                    *count -= 1;
                    if *count == 0 {
                        lengths.remove(&length);
                    }
                }
            }
        }
    }

    fn lengths_like(&mut self, address: IpAddr) -> &mut BTreeMap<u8, usize> {
        match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }

    /// The agents whose grants cover a route, each once, in no order.
    pub fn find(&self, route: &Route) -> HashSet<&K> {
        let places = self.places(route);
        let lists = places.iter().filter_map(|place| self.lists.get(place));
        lists.flatten().collect()
    }

    /// Under what an agent may be listed that covers a route.
    fn places(&self, route: &Route) -> Vec<Place> {
        match route {
            Route::Node(node) => vec![Place::Node(Arc::clone(node))],
            Route::Address(address) => {
                let lengths = match address {
                    IpAddr::V4(_) => &self.v4,
                    IpAddr::V6(_) => &self.v6,
                };
                let network = |length| IpNet::new(*address, length).ok();
                lengths
                    .keys()
                    .filter_map(|length| Some(Place::Network(network(*length)?.trunc())))
                    .collect()
            }
            Route::Name(name) => {
                let dots = name.match_indices('.').map(|(dot, _)| dot + 1);
                let suffixes = std::iter::once(0).chain(dots);
                suffixes
                    .filter_map(|from| Some(Place::Suffix(name.get(from..)?.to_owned())))
                    .collect()
            }
        }
    }
}

fn granted(grant: &AgentGrant) -> impl Iterator<Item = Place> {
    let nodes = grant.nodes.iter().cloned().map(Place::Node);
    let networks = grant
        .networks
        .iter()
        .map(|network| Place::Network(network.trunc()));
    let suffixes = grant.suffixes.iter().cloned().map(Place::Suffix);
    nodes.chain(networks).chain(suffixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node, a network of its own, one that overlaps with others, and a name.
    fn grant(number: u16) -> AgentGrant {
        let [high, low] = number.to_be_bytes();
        let networks = [
            format!("10.{high}.{low}.0/24"),
            format!("10.{high}.0.0/{}", 16 + number % 3),
            format!("fd00:{number:x}::1/64"),
        ];
        AgentGrant {
            name: format!("edge-{number}").into(),
            nodes: Arc::from([format!("worker-{number}").into()]),
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
            suffixes: Arc::from([format!("s{}.site-{number}.example", number % 2)]),
        }
    }

    fn routes(number: u16) -> Vec<Route> {
        let [high, low] = number.to_be_bytes();
        let address = |text: String| Route::Address(text.parse().unwrap());
        vec![
            Route::Node(format!("worker-{number}").into()),
            address(format!("10.{high}.{low}.9")),
            address(format!("10.{high}.255.9")),
            address(format!("fd00:{number:x}::7")),
            address("192.0.2.1".to_owned()),
            Route::Name(format!("s0.site-{number}.example")),
            Route::Name(format!("db.s1.site-{number}.example")),
            Route::Name(format!("xs1.site-{number}.example")),
            Route::Name("example".to_owned()),
        ]
    }

    #[test]
    fn index_finds_whom_a_scan_finds_while_agents_come_and_go() {
        let mut index = RouteIndex::default();
        let mut there: Vec<u16> = Vec::new();
        let mut random = 7_u32;
        for _ in 0..2_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = u16::try_from(random >> 24).unwrap() * 3;
            match there.iter().position(|each| *each == number) {
                Some(at) => index.remove(&there.swap_remove(at), &grant(number)),
                None => {
                    there.push(number);
                    index.insert(&number, &grant(number));
                }
            }
            for route in routes(number) {
                let covers = |each: &&u16| grant(**each).covers(&route);
                let scanned: HashSet<_> = there.iter().filter(covers).collect();
                assert_eq!(index.find(&route), scanned, "{route}");
            }
        }
        for number in there {
            index.remove(&number, &grant(number));
        }
        assert!(index.lists.is_empty() && index.v4.is_empty() && index.v6.is_empty());
    }

    #[test]
    fn index_of_ten_thousand_agents_looks_at_a_few_lists_with_the_right_ones_alone() {
        let mut index = RouteIndex::default();
        for number in 0..10_000 {
            let mut grant = grant(number);
            // Nobody overlaps.
            grant.networks = grant.networks.iter().step_by(2).copied().collect();
            index.insert(&number, &grant);
        }
        for number in [0_u16, 1, 4_711, 9_999] {
            let [high, low] = number.to_be_bytes();
            let address = |text: String| Route::Address(text.parse().unwrap());
            for (route, looks) in [
                (Route::Node(format!("worker-{number}").into()), 1),
                (address(format!("10.{high}.{low}.9")), 1),
                (address(format!("fd00:{number:x}::7")), 1),
                (
                    Route::Name(format!("db.s{}.site-{number}.example", number % 2)),
                    4,
                ),
            ] {
                assert_eq!(index.places(&route).len(), looks, "{route}");
                assert_eq!(index.find(&route), HashSet::from([&number]), "{route}");
            }
        }
    }

    #[test]
    fn network_that_is_granted_twice_is_listed_once() {
        let mut index = RouteIndex::default();
        let mut twice = grant(1);
        twice.networks = ["10.0.0.0/8", "10.1.2.3/8"]
            .map(|net| net.parse().unwrap())
            .into();
        index.insert(&1, &twice);
        let route = Route::Address("10.9.9.9".parse().unwrap());
        assert_eq!(index.find(&route).len(), 1);
        index.remove(&1, &twice);
        assert!(index.find(&route).is_empty() && index.places(&route).is_empty());
    }
}
