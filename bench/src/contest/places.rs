//! Which cores the proxies of a contest get, and which the generator.

use crate::cpu;
use crate::{Error, Result};

/// The cores of a contest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    /// Of all proxies; each gets the last of them, as many as it wants.
    proxies: Vec<usize>,
    /// Of clients and far end.
    pub(super) generators: Vec<usize>,
}

impl Places {
    /// Gives proxies the cores that were `asked` for, or the last ones, as many as the `most` that any
    /// wants. The generator gets the others; where none is left it shares. A machine's only core is
    /// shared when it was asked for, and not otherwise.
    pub(super) fn choose(allowed: &[usize], asked: &[usize], most: usize) -> Result<Self> {
        if allowed.len() < 2 && asked.is_empty() {
            return Err(cpu::one_is_too_few());
        }
        let proxies = match asked {
            [] => allowed[allowed.len().saturating_sub(most)..].to_vec(),
            asked => asked.to_vec(),
        };
        if let Some(core) = proxies.iter().find(|core| !allowed.contains(core)) {
            return Err(Error::Unfit(format!(
                "core {core} is not one of those that this process may use: {allowed:?}"
            )));
        }
        if proxies.len() < most {
            return Err(Error::Unfit(format!(
                "a proxy needs {most} cores, and proxies have {proxies:?} here; name more with \
                 --proxy-cores, or leave such proxies out with --among"
            )));
        }
        let mut generators = allowed.to_vec();
        generators.retain(|core| !proxies.contains(core));
        if generators.is_empty() {
            generators = allowed[..(allowed.len() - 1).max(1)].to_vec();
        }
        Ok(Self {
            proxies,
            generators,
        })
    }

    /// The cores of a proxy that has so many.
    pub(super) fn of(&self, cores: usize) -> &[usize] {
        &self.proxies[self.proxies.len().saturating_sub(cores)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(allowed: &[usize], asked: &[usize], workers: usize) -> (Vec<usize>, Vec<usize>) {
        let places = Places::choose(allowed, asked, workers).unwrap();
        (places.of(workers).to_vec(), places.generators)
    }

    #[test]
    fn generator_leaves_the_cores_of_proxies_where_there_are_enough() {
        assert_eq!(places(&[0, 1], &[], 1), (vec![1], vec![0]));
        assert_eq!(places(&[0, 1, 2, 3], &[], 2), (vec![2, 3], vec![0, 1]));
        assert_eq!(places(&[0, 1, 2, 3], &[0], 1), (vec![0], vec![1, 2, 3]));
        // Not enough: the second worker's core is the generator's too.
        assert_eq!(places(&[0, 1], &[], 2), (vec![0, 1], vec![0]));
        assert_eq!(places(&[0], &[0], 1), (vec![0], vec![0]));
        assert_eq!(
            Places::choose(&[0, 1], &[], 2).unwrap().of(1),
            [1],
            "one worker keeps a core of its own beside proxies with two"
        );
    }

    #[test]
    fn cores_that_are_not_there_or_too_few_are_refused() {
        for (allowed, asked, workers) in [
            (&[0][..], &[][..], 1),
            (&[0, 1], &[], 3),
            (&[0, 1], &[1], 2),
            (&[0, 1], &[2], 1),
        ] {
            assert!(Places::choose(allowed, asked, workers).is_err());
        }
    }
}
