use super::*;

const LIMIT: Duration = Duration::from_millis(10);
const LINE: usize = 130;

/// A direction and its clock.
struct Reader {
    coalesce: Coalesce,
    now: Instant,
}

impl Reader {
    fn new(limit: Duration) -> Self {
        Self {
            coalesce: Coalesce::new(limit),
            now: Instant::now(),
        }
    }

    /// Reads after `gap`.
    fn read(&mut self, gap: Duration, bytes: usize, answered: u64) -> Option<Duration> {
        self.now += gap;
        self.coalesce.saw_read(bytes, answered, || self.now)
    }

    /// Reads lines at one pace until one read is put off; returns the time that took.
    fn until_deferred(&mut self, gap: Duration, reads: usize) -> Option<Duration> {
        let begun = self.now + gap;
        (0..reads)
            .find_map(|_| self.read(gap, LINE, 0))
            .map(|_| self.now - begun)
    }
}

#[test]
fn a_steady_flow_of_lines_is_deferred_once_it_lasted_four_times_the_delay() {
    for gap_us in [50, 500, 1000, 2000, 4000, 10_000] {
        let gap = Duration::from_micros(gap_us);
        let took = Reader::new(LIMIT).until_deferred(gap, 2000);
        let took = took.unwrap_or_else(|| panic!("a line every {gap:?} is never deferred"));
        // It is measured from its second read on.
        let least = gap + (4 * LIMIT).max(gap * (COALESCE_READS - 1));
        assert!(
            took >= least && took <= least + gap,
            "every {gap:?}: after {took:?}"
        );
    }
}

#[test]
fn reads_in_vain_do_not_hide_a_flow() {
    let gap = Duration::from_millis(1);
    let took = Reader::new(LIMIT).until_deferred(gap, 200);
    let mut reader = Reader::new(LIMIT);
    let begun = reader.now + gap;
    let deferred = (0..200).any(|_| {
        let wait = reader.read(gap, LINE, 0);
        wait.is_some() || reader.read(Duration::ZERO, 0, 0).is_some()
    });
    assert_eq!(deferred.then(|| reader.now - begun), took);
}

#[test]
fn a_slow_flow_is_never_deferred() {
    let mut reader = Reader::new(LIMIT);
    assert_eq!(
        reader.until_deferred(Duration::from_millis(11), 10_000),
        None
    );
}

#[test]
fn a_slow_flow_that_becomes_fast_is_deferred() {
    let mut reader = Reader::new(LIMIT);
    assert_eq!(reader.until_deferred(Duration::from_millis(20), 1000), None);
    assert!(
        reader
            .until_deferred(Duration::from_millis(1), 200)
            .is_some()
    );
}

#[test]
fn a_burst_is_not_deferred() {
    let mut reader = Reader::new(LIMIT);
    for _ in 0..10 {
        assert_eq!(reader.until_deferred(Duration::from_micros(20), 100), None);
        assert_eq!(reader.read(Duration::from_secs(1), 0, 0), None);
    }
}

#[test]
fn what_is_answered_is_never_deferred() {
    let mut reader = Reader::new(LIMIT);
    for round in 0..10_000 {
        assert_eq!(reader.read(Duration::from_micros(100), 64, round), None);
    }
}

#[test]
fn what_is_answered_does_not_ask_the_clock() {
    let mut coalesce = Coalesce::new(LIMIT);
    for round in 0..100 {
        let wait = coalesce.saw_read(64, round, || panic!("asked in round {round}"));
        assert_eq!(wait, None);
    }
}

#[test]
fn an_answer_ends_the_deferral() {
    let mut reader = Reader::new(LIMIT);
    assert!(
        reader
            .until_deferred(Duration::from_millis(1), 200)
            .is_some()
    );
    assert_eq!(reader.read(LIMIT, 10 * LINE, 0), Some(LIMIT));
    assert_eq!(reader.read(LIMIT, 10 * LINE, 1), None);
    assert_eq!(reader.read(LIMIT, LINE, 1), None);
}

#[test]
fn a_flow_that_became_slow_is_taken_as_it_comes() {
    let mut reader = Reader::new(LIMIT);
    assert!(
        reader
            .until_deferred(Duration::from_millis(1), 200)
            .is_some()
    );
    assert_eq!(reader.read(LIMIT, 2 * LINE, 0), Some(LIMIT));
    assert_eq!(reader.read(LIMIT, LINE, 0), None);
}

#[test]
fn nothing_to_read_ends_the_deferral() {
    let mut reader = Reader::new(LIMIT);
    assert!(
        reader
            .until_deferred(Duration::from_millis(1), 200)
            .is_some()
    );
    assert_eq!(reader.read(LIMIT, 0, 0), None);
    assert_eq!(reader.read(LIMIT, 10 * LINE, 0), None);
}

#[test]
fn a_flow_that_gathers_much_waits_less_and_then_not_at_all() {
    let mut reader = Reader::new(LIMIT);
    assert!(
        reader
            .until_deferred(Duration::from_millis(1), 200)
            .is_some()
    );
    let mut waits = Vec::new();
    while let Some(wait) = reader.read(LIMIT, BULKY_READ, 0) {
        waits.push(wait);
    }
    let halves = [LIMIT / 2, LIMIT / 4, LIMIT / 8];
    assert_eq!(waits, halves);
}

#[test]
fn large_reads_are_no_flow() {
    let mut reader = Reader::new(LIMIT);
    for _ in 0..1000 {
        let wait = reader.read(Duration::from_millis(1), COALESCE_READ, 0);
        assert_eq!(wait, None);
    }
}

#[test]
fn no_delay_is_none() {
    let mut reader = Reader::new(Duration::ZERO);
    assert_eq!(reader.until_deferred(Duration::from_millis(1), 1000), None);
}
