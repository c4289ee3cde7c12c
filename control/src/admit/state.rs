//! What is decided with: one configuration in force.

use super::local::is_local;
use super::neighbours::Neighbours;
use crate::config::Config;
use crate::front::{Front, Kept};
use crate::material::Material;
use crate::policy::Policy;
use std::net::SocketAddr;
use std::sync::Arc;

/// One configuration in force.
#[derive(Debug)]
pub struct State {
    /// Its number, from 1.
    pub generation: u64,
    /// What was configured.
    pub config: Config,
    /// What the files hold.
    pub material: Material,
    pub(super) policy: Policy,
    pub(super) front: Option<Front>,
    pub(super) neighbours: Arc<Neighbours>,
}

impl State {
    pub(super) fn new(
        generation: u64,
        (config, material): (Config, Material),
        (listening, neighbours): (&[SocketAddr], &Arc<Neighbours>),
        before: Option<&Self>,
        fronts: &Kept,
    ) -> Self {
        let policy = Policy::new(&config, listening);
        neighbours.list(&config, &policy, &is_local);
        let before = before.and_then(|before| before.front.as_ref());
        let front = Front::new(generation, &config, &material, before, fronts);
        Self {
            generation,
            config,
            material,
            policy,
            front,
            neighbours: Arc::clone(neighbours),
        }
    }
}
