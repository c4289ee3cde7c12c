//! Judges peers by what the kernel says of them, without a socket.

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn progress(unacknowledged: u32, probes: u8, silence: Duration) -> Progress {
    Progress {
        closed: false,
        unacknowledged,
        last_sent: Duration::ZERO,
        probes,
        silence,
        round_trip: Duration::from_millis(3),
    }
}

fn liveness(idle: u64, user_timeout: Duration) -> Liveness {
    Liveness {
        keepalive_idle: seconds(idle),
        user_timeout,
    }
}

/// When the kernel ends an idle connection whose keepalive says this, with nothing ever answered.
fn ends(keepalive: Keepalive) -> Duration {
    keepalive.idle + keepalive.interval * keepalive.count
}

#[test]
fn idle_connection_ends_with_the_first_probe_that_is_due_after_the_user_timeout() {
    for (idle, timeout, end) in [
        (30, 60, 60),
        (30, 61, 70),
        (30, 41, 50),
        (30, 5, 40),
        (1, 1, 11),
        (100, 60, 110),
        (5, 300, 305),
        (1, 32_767, 32_767),
    ] {
        let keepalive = liveness(idle, seconds(timeout)).keepalive();
        assert_eq!(ends(keepalive), seconds(end), "{idle} {timeout}");
        assert!((1..=KEEPALIVE_COUNT_MAX).contains(&keepalive.count));
    }
    let part = liveness(30, Duration::from_millis(60_001)).keepalive();
    assert_eq!(ends(part), seconds(70));
}

#[test]
fn questions_and_looks_stay_within_their_bounds() {
    for (timeout, ask, sweep) in [
        (Duration::from_millis(300), ASK_MIN, SWEEP_MIN),
        (seconds(1), ASK_MIN, Duration::from_micros(62_500)),
        (LIMIT, seconds(20), Duration::from_millis(3750)),
        (seconds(32_767), ASK_MAX, SWEEP_MAX),
    ] {
        let liveness = liveness(30, timeout);
        assert_eq!(liveness.ask_every(), ask);
        assert_eq!(liveness.sweep_every(), sweep);
    }
}

#[test]
fn peer_owes_an_answer_since_it_was_asked_and_not_since_it_fell_silent() {
    let start = Instant::now();
    let now = start + seconds(50);
    // Nothing on its way and no probe out: a shut window between two probes.
    assert_eq!(asked(Some(start), progress(0, 0, seconds(50)), now), None);
    // The first look that finds a question.
    assert_eq!(asked(None, progress(0, 1, seconds(50)), now), Some(now));
    assert_eq!(asked(None, progress(1, 0, seconds(1)), now), Some(now));
    // A segment that the peer had no room for, and that it answered.
    let mut answered = progress(1, 0, seconds(7));
    answered.last_sent = answered.silence;
    assert_eq!(asked(Some(start), answered, now), None);
    // Still not answered.
    let before = Some(start + seconds(10));
    assert_eq!(asked(before, progress(0, 2, seconds(45)), now), before);
    // Answered since, and asked again.
    assert_eq!(asked(before, progress(0, 1, seconds(39)), now), Some(now));
}

#[test]
fn peer_is_dead_when_outstanding_bytes_silence_and_a_question_are_old_enough() {
    let start = Instant::now();
    let dead = |since: u64, asked: u64, silence: u64, now: u64| {
        let at = |s| start + seconds(s);
        let progress = progress(1, 1, seconds(silence));
        dead_at(at(since), at(asked), progress, at(now), LIMIT)
    };
    let at = |s| start + seconds(s);
    // Sent at 0, never answered: at 60, whenever it is looked at.
    assert_eq!(dead(0, 4, 30, 30), at(60));
    assert_eq!(dead(0, 4, 60, 60), at(60));
    // Silent for long before anything was sent.
    assert_eq!(dead(100, 101, 90, 110), at(160));
    // Heard of at 25.
    assert_eq!(dead(0, 30, 25, 50), at(85));
    // A shut window that was probed for the first time after two minutes of silence.
    assert_eq!(dead(0, 120, 120, 120), at(135));
}

#[test]
fn grace_covers_a_peer_that_is_far_away() {
    let start = Instant::now();
    let mut far = progress(1, 0, seconds(2));
    far.round_trip = seconds(3);
    let due = dead_at(
        start,
        start + seconds(2),
        far,
        start + seconds(2),
        seconds(4),
    );
    assert_eq!(due, start + seconds(5));
}

#[test]
fn loss_names_its_leg_the_bytes_and_the_setting() {
    for (side, word) in [(Side::Downstream, "client"), (Side::Upstream, "target")] {
        let loss = Loss {
            side,
            silence: Duration::from_millis(60_040),
            bytes: 4711,
        };
        let failure = loss.at(Phase::Relay);
        assert_eq!((failure.reason, failure.side), (Reason::PeerLost, side));
        let detail = failure.detail.unwrap();
        for part in [word, "4711 bytes", "60.0 s", "timeouts.tcpUserTimeout"] {
            assert!(detail.contains(part), "{detail}");
        }
    }
}
