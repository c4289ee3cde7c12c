//! Single steps with all that they need, for criterion and for counting instructions.

pub(crate) mod control;
pub(crate) mod engine;
mod heads;
mod life;
mod pair;
mod step;

pub(crate) use step::Step;
