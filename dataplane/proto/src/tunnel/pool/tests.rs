use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const YOUNG: Duration = Duration::from_millis(12_340);

fn at(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

#[test]
fn pool_follows_the_busiest_time_and_shrinks_after_thirty_seconds() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(0..=8, start);
    assert_eq!(pool.target(start), 0, "nobody opens");
    pool.opened(at(start, 100));
    assert_eq!(pool.target(at(start, 100)), 1);
    for _ in 0..3 {
        pool.opened(at(start, 5_400));
    }
    for _ in 0..2 {
        pool.opened(at(start, 5_600));
    }
    assert_eq!(pool.target(at(start, 5_600)), 5, "a burst over two slots");
    pool.opened(at(start, 20_000));
    assert_eq!(pool.target(at(start, 35_400)), 5);
    assert_eq!(
        pool.target(at(start, 35_500)),
        2,
        "the first slot is forgotten"
    );
    assert_eq!(pool.target(at(start, 36_000)), 1);
    assert_eq!(pool.target(at(start, 50_499)), 1);
    assert_eq!(pool.target(at(start, 50_500)), 0);
}

#[test]
fn pool_asks_for_what_has_changed_and_grows_at_no_crowded_gateway() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(2..=8, start);
    pool.registered();
    assert_eq!(pool.ask(start, true), None, "controls go first");
    assert_eq!(pool.asked(), 0);
    assert_eq!(pool.ask(start, false), Some(2));
    assert_eq!(pool.ask(start, false), None);
    for _ in 0..5 {
        pool.opened(at(start, 1_000));
    }
    assert_eq!(pool.ask(at(start, 1_000), true), None);
    assert_eq!(pool.ask(at(start, 1_000), false), Some(5));
    assert_eq!(pool.ask(at(start, 60_000), true), Some(2), "it may shrink");
    pool.registered();
    assert_eq!(pool.ask(at(start, 60_000), false), Some(2), "of a new one");
}

#[test]
fn pool_steady_rate_is_not_added_up() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(0..=8, start);
    for second in 0..100 {
        pool.opened(at(start, second * 1000));
    }
    assert_eq!(pool.target(at(start, 100_000)), 1, "one a second");
}

#[test]
fn pool_stays_within_floor_and_cap() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(2..=4, start);
    assert_eq!(pool.target(start), 2);
    for _ in 0..100 {
        pool.opened(start);
    }
    assert_eq!(pool.target(start), 4);
    pool.set_limits(0..=3);
    assert_eq!(pool.target(start), 3);
    assert_eq!(pool.target(at(start, 60_000)), 0);
    #[expect(clippy::reversed_empty_ranges, reason = "what a caller could pass")]
    pool.set_limits(5..=1);
    assert_eq!(pool.target(start), 5);
}

#[test]
fn pool_carrier_that_kills_all_young_ones_empties_it_with_a_reason() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(4..=8, start);
    let mut handshakes = 4;
    let mut parked: usize = 4;
    // Each is killed as soon as it is young, and the pool is filled again.
    for death in 1..=100 {
        if parked == 0 {
            break;
        }
        let now = start + death * SECOND;
        parked -= 1;
        pool.died(YOUNG, parked, now);
        let target = pool.target(now);
        handshakes += target.saturating_sub(parked);
        parked = parked.max(target);
    }
    let now = start + 100 * SECOND;
    assert_eq!(pool.target(now), 0, "below its floor too");
    assert_eq!(handshakes, 6);
    assert_eq!(
        pool.shrunk(now).unwrap().to_string(),
        "at most 0 connections are kept waiting: 6 in a row died within 60 s, the last after 12.3 \
         s; a carrier or NAT between agent and gateway may cut idle connections"
    );
}

#[test]
fn pool_carrier_that_leaves_some_keeps_those() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(8..=8, start);
    for _ in 0..2 {
        pool.died(YOUNG, 2, start);
        assert_eq!((pool.target(start), pool.shrunk(start)), (8, None));
    }
    pool.died(YOUNG, 2, start);
    let shrunk = Shrunk {
        kept: 2,
        died: 3,
        age: YOUNG,
    };
    assert_eq!((pool.target(start), pool.shrunk(start)), (2, Some(shrunk)));
    pool.survived(90 * SECOND);
    assert_eq!(pool.target(start), 2, "those two survive, more may not");
}

#[test]
fn pool_old_deaths_and_survivors_interrupt_the_run() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(8..=8, start);
    for _ in 0..10 {
        pool.died(YOUNG, 7, start);
        pool.died(YOUNG, 6, start);
        pool.survived(limits::TUNNEL_POOL_YOUNG);
        pool.died(YOUNG, 7, start);
        pool.died(YOUNG, 6, start);
        pool.died(limits::TUNNEL_POOL_YOUNG, 7, start);
    }
    assert_eq!(pool.shrunk(start), None);
    pool.died(YOUNG, 7, start);
    pool.died(YOUNG, 6, start);
    pool.survived(YOUNG);
    pool.died(YOUNG, 5, start);
    assert_eq!(pool.target(start), 5, "a young survivor says nothing");
}

#[test]
fn pool_one_more_is_tried_every_ten_minutes() {
    let start = Instant::now();
    let mut pool = PoolPolicy::new(3..=3, start);
    for _ in 0..3 {
        pool.died(YOUNG, 0, start);
    }
    let kept = |pool: &mut PoolPolicy, minutes: u32| pool.target(start + minutes * 60 * SECOND);
    assert_eq!((kept(&mut pool, 9), kept(&mut pool, 10)), (0, 1));
    pool.died(YOUNG, 0, start + 601 * SECOND);
    assert_eq!((kept(&mut pool, 11), kept(&mut pool, 19)), (0, 0));
    assert_eq!((kept(&mut pool, 21), kept(&mut pool, 31)), (1, 2));
    assert_eq!(kept(&mut pool, 41), 3);
    assert_eq!(pool.shrunk(start), None, "the cap is reached");
}

proptest! {
    #[test]
    fn pool_target_is_what_the_last_opens_say(
        opens in prop::collection::vec(0..2_000u64, 0..200),
    ) {
        let start = Instant::now();
        let mut pool = PoolPolicy::new(1..=20, start);
        let (mut now, mut all) = (0, Vec::new());
        for pause in opens {
            now += pause;
            all.push(now / 500);
            pool.opened(at(start, now));
            let oldest = (now / 500).saturating_sub(60);
            let within = |slot: u64| {
                all.iter().filter(|open| (slot..slot + 2).contains(*open)).count()
            };
            let busiest = (oldest..=now / 500).map(within).max().unwrap_or(0);
            prop_assert_eq!(pool.target(at(start, now)), busiest.clamp(1, 20));
        }
    }
}
