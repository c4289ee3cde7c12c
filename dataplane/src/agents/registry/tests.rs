use super::*;
use rustls::crypto::GetRandomFailed;
use std::sync::atomic::AtomicUsize;

/// A door at which nobody waits.
struct Quiet;

impl Door for Quiet {
    fn is_crowded(&self) -> bool {
        false
    }
}

/// Gives random bits so often, and then fails.
#[derive(Debug)]
struct Dries(AtomicUsize);

impl SecureRandom for Dries {
    fn fill(&self, bits: &mut [u8]) -> Result<(), GetRandomFailed> {
        let left = self.0.load(Relaxed);
        self.0.store(left.saturating_sub(1), Relaxed);
        bits.fill(left.to_le_bytes()[0]);
        if left > 0 {
            Ok(())
        } else {
            Err(GetRandomFailed)
        }
    }
}

fn drying(fills: usize) -> Result<Registry, NoRandomness> {
    let source = Box::leak(Box::new(Dries(AtomicUsize::new(fills))));
    Registry::new(Arc::new(Quiet), source)
}

#[test]
fn registry_without_randomness_has_no_name_and_opens_nothing() {
    assert_eq!(drying(0).map(|_| ()), Err(NoRandomness));
    let registry = drying(2).unwrap();
    assert_eq!(registry.open_id(), Ok(OpenId([1; 16])));
    assert_eq!(registry.open_id(), Err(NoRandomness), "not a zero");
}
