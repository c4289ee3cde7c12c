use super::*;

fn herd(seed: u64) -> Herd {
    Herd {
        agents: 1_000,
        gateways: 5,
        opens: 15_000,
        handshakes: 100,
        seed,
    }
}

#[test]
fn herd_keeps_all_rules_in_every_scenario() {
    for scenario in Scenario::value_variants() {
        for seed in [1, 2] {
            let outcome = simulate(herd(seed), *scenario);
            assert!(
                outcome.broken.is_empty(),
                "{scenario:?} with seed {seed}: {:?}\n{:#?}",
                outcome.broken,
                outcome.described
            );
        }
    }
}

/// Three thousand controls at 200 handshakes a second: at a quarter of that they would take the
/// whole minute, and longer while pools fill up.
#[test]
fn herd_that_has_lost_its_gateway_is_back_within_a_minute_through_the_gate() {
    let herd = Herd {
        agents: 3_000,
        gateways: 2,
        handshakes: 200,
        ..herd(1)
    };
    let outcome = simulate(herd, Scenario::RestartGate);
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.described);
}

#[test]
fn herd_of_one_seed_is_the_same_each_time() {
    for scenario in [Scenario::RestartGate, Scenario::Nat] {
        let [first, again] = [1, 1].map(|seed| simulate(herd(seed), scenario).to_string());
        assert_eq!(first, again);
        assert_ne!(first, simulate(herd(2), scenario).to_string());
    }
}
