//! Answers to questions that cost one: asked once at a time for each key, and kept while they are
//! good.

use crate::recent::Recent;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// So long others join a question that is under way. One that has waited longer may have been
/// answered long ago, on a connection that nobody reads.
const JOIN: Duration = Duration::from_millis(500);

/// Answers by key.
#[derive(Debug)]
pub struct Answers<K, V> {
    slots: Recent<K, Slot<V>>,
}

/// A question and, later, its answer.
#[derive(Clone, Debug)]
struct Slot<V> {
    began: Instant,
    answer: watch::Receiver<Option<V>>,
}

impl<K, V> Answers<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone + Send + Sync + 'static,
{
    /// Keeps at most `capacity` of them.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Recent::new(capacity),
        }
    }

    /// Finds an answer, or asks for it in a task of its own, which ends by itself: who leaves takes
    /// nothing away from the others. `lasts` says how long an answer is good, counted from when its
    /// question began; zero is for those who wait for it alone.
    ///
    /// `None`: the task was ended without an answer.
    pub async fn find<F>(
        &self,
        key: K,
        lasts: impl Fn(&V) -> Duration,
        ask: impl FnOnce() -> F,
    ) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let now = Instant::now();
        let is_good = |slot: &Slot<V>| {
            let age = now.saturating_duration_since(slot.began);
            match &*slot.answer.borrow() {
                Some(answer) => age < lasts(answer),
                None => age < JOIN && slot.answer.has_changed().is_ok(),
            }
        };
        let begin = || {
            let (sender, answer) = watch::channel(None);
            let asked = ask();
            tokio::spawn(async move {
                let found = asked.await;
                // Those who left need no answer.
                drop(sender.send(Some(found)));
            });
            Slot { began: now, answer }
        };
        let slot = self.slots.find_or_insert(key.clone(), is_good, begin);
        let (began, mut answer) = (slot.began, slot.answer);
        let found = answer.wait_for(Option::is_some).await.ok()?.clone()?;
        if lasts(&found).is_zero() {
            // It is for those who wait alone, and takes no place from answers that last.
            drop(self.slots.find(&key, |slot| slot.began != began));
        }
        Some(found)
    }

    /// How many there are.
    pub fn held(&self) -> usize {
        self.slots.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    const LASTS: Duration = Duration::from_secs(10);

    struct Asked {
        answers: Answers<&'static str, usize>,
        count: Arc<AtomicUsize>,
    }

    impl Asked {
        fn new() -> Self {
            Self {
                answers: Answers::new(8),
                count: Arc::default(),
            }
        }

        /// The answer is which question it was.
        async fn find(
            &self,
            key: &'static str,
            lasts: Duration,
            until: &Arc<Notify>,
        ) -> Option<usize> {
            let (count, until) = (Arc::clone(&self.count), Arc::clone(until));
            let ask = || async move {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                until.notified().await;
                number
            };
            self.answers.find(key, |_| lasts, ask).await
        }
    }

    fn at_once() -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        notify.notify_one();
        notify
    }

    #[tokio::test(start_paused = true)]
    async fn answer_is_kept_as_long_as_it_lasts() {
        let asked = Asked::new();
        assert_eq!(asked.find("a", LASTS, &at_once()).await, Some(1));
        assert_eq!(asked.find("a", LASTS, &at_once()).await, Some(1));
        assert_eq!(asked.find("b", LASTS, &at_once()).await, Some(2));
        tokio::time::advance(LASTS).await;
        assert_eq!(asked.find("a", LASTS, &at_once()).await, Some(3));
        assert_eq!(asked.find("a", Duration::ZERO, &at_once()).await, Some(4));
        // That one takes no place.
        assert_eq!(asked.answers.held(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_meanwhile_wait_for_the_same_answer_though_the_first_leaves() {
        let asked = Asked::new();
        let gate = Arc::new(Notify::new());
        let first = asked.find("a", Duration::ZERO, &gate);
        assert!(tokio::time::timeout(JOIN / 4, first).await.is_err());
        let second = asked.find("a", Duration::ZERO, &gate);
        let third = asked.find("a", Duration::ZERO, &gate);
        gate.notify_one();
        let (second, third) = tokio::join!(second, third);
        assert_eq!((second, third), (Some(1), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn question_that_is_under_way_for_long_is_joined_by_none() {
        let asked = Asked::new();
        let gate = Arc::new(Notify::new());
        let first = asked.find("a", LASTS, &gate);
        assert!(tokio::time::timeout(JOIN, first).await.is_err());
        assert_eq!(asked.find("a", LASTS, &at_once()).await, Some(2));
    }

    #[tokio::test]
    async fn question_that_panics_is_no_answer_and_asked_again() {
        let answers: Answers<&str, usize> = Answers::new(8);
        let fails = || async { panic!("for the test") };
        assert_eq!(answers.find("a", |_| LASTS, fails).await, None);
        assert_eq!(answers.find("a", |_| LASTS, || async { 7 }).await, Some(7));
    }
}
