//! Reloading over real files: a mounted secret's symlink swap, bad states, SIGHUP.

use super::*;
use crate::metrics::Metrics;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// A state is the text of one file; text that begins with "bad" does not load.
struct TextSource {
    file: PathBuf,
    board: Arc<Board>,
    /// Written to the file in the middle of the next load.
    write_during_load: Option<&'static str>,
}

#[derive(Default)]
struct Board {
    published: Mutex<Vec<String>>,
    loads: AtomicUsize,
}

impl Board {
    fn last(&self) -> Option<String> {
        self.published.lock().unwrap().last().cloned()
    }
}

impl Source for TextSource {
    type State = String;

    fn load(&mut self) -> Loaded<String> {
        self.board.loads.fetch_add(1, SeqCst);
        let text = std::fs::read_to_string(&self.file);
        if let Some(text) = self.write_during_load.take() {
            std::fs::write(&self.file, text).unwrap();
        }
        let result = match text {
            Ok(text) if text.starts_with("bad") => Err(vec![format!("{text} does not load")]),
            Ok(state) => Ok(Valid {
                state,
                warnings: Vec::new(),
                certificates: Vec::new(),
            }),
            Err(error) => Err(vec![error.to_string()]),
        };
        Loaded {
            files: BTreeSet::from([self.file.clone()]),
            result,
        }
    }

    fn publish(&mut self, state: String) -> Vec<String> {
        self.board.published.lock().unwrap().push(state);
        Vec::new()
    }

    fn status(&self) -> String {
        String::new()
    }
}

struct Running {
    board: Arc<Board>,
    hangup: Arc<Notify>,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(file: PathBuf) -> Self {
        let board = Arc::new(Board::default());
        let mut source = TextSource {
            file,
            board: Arc::clone(&board),
            write_during_load: None,
        };
        let metrics = Metrics::new();
        let host = Host::of(Arc::clone(&metrics));
        let (_, seen) = load_settled(|| source.load(), Digests::default());
        host.reloads.loaded(1, SystemTime::now());
        let hangup = Arc::new(Notify::new());
        let timing = Timing {
            debounce: Duration::from_millis(20),
            ..Timing::default()
        };
        let reloader = Reloader::new(source, seen, Arc::clone(&hangup), timing, host);
        let task = tokio::spawn(reloader.run());
        Self {
            board,
            hangup,
            metrics,
            task,
        }
    }

    async fn until(&self, condition: impl Fn(&Board, &Metrics) -> bool) {
        let waited = async {
            while !condition(&self.board, &self.metrics) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited)
            .await
            .expect("condition in 20 s");
    }

    fn failures(metrics: &Metrics) -> bool {
        metrics
            .render()
            .unwrap()
            .contains("config_reloads_total{result=\"failure\"} 1")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A mounted secret: `tls.crt` links to `..data/tls.crt`, and `..data` to a dated directory.
struct MountedSecret {
    root: tempfile::TempDir,
    version: u32,
}

impl MountedSecret {
    fn new(text: &str) -> Self {
        let mut secret = Self {
            root: tempfile::tempdir().unwrap(),
            version: 0,
        };
        secret.swap(text);
        symlink("..data/tls.crt", secret.file()).unwrap();
        secret
    }

    fn file(&self) -> PathBuf {
        self.root.path().join("tls.crt")
    }

    /// What kubelet's atomic writer does: a new directory, a new link, a rename, the old one gone.
    fn swap(&mut self, text: &str) {
        self.version += 1;
        let root = self.root.path();
        let name = format!("..{}", self.version);
        std::fs::create_dir(root.join(&name)).unwrap();
        std::fs::write(root.join(&name).join("tls.crt"), text).unwrap();
        symlink(&name, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if self.version > 1 {
            std::fs::remove_dir_all(root.join(format!("..{}", self.version - 1))).unwrap();
        }
    }
}

#[tokio::test]
async fn symlink_swap_publishes_each_new_content() {
    let mut secret = MountedSecret::new("one");
    let running = Running::start(secret.file());
    for text in ["two", "three", "four"] {
        secret.swap(text);
        running
            .until(|board, _| board.last().as_deref() == Some(text))
            .await;
    }
    assert!(running.metrics.config.last_successful());
}

#[tokio::test]
async fn rename_over_the_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, "one").unwrap();
    let running = Running::start(file.clone());
    std::fs::write(dir.path().join("new"), "two").unwrap();
    std::fs::rename(dir.path().join("new"), &file).unwrap();
    running
        .until(|board, _| board.last().as_deref() == Some("two"))
        .await;
}

#[tokio::test]
async fn bad_state_keeps_the_last_good_one_until_it_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, "one").unwrap();
    let running = Running::start(file.clone());
    std::fs::write(&file, "bad").unwrap();
    running.until(|_, metrics| Running::failures(metrics)).await;
    assert_eq!(running.board.last(), None, "nothing was published");
    assert!(!running.metrics.config.last_successful());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "two").unwrap();
    running
        .until(|board, _| board.last().as_deref() == Some("two"))
        .await;
    assert!(running.metrics.config.last_successful());
}

#[tokio::test]
async fn events_that_change_nothing_do_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, "one").unwrap();
    let running = Running::start(file.clone());
    let loads = running.board.loads.load(SeqCst);
    std::fs::write(dir.path().join("other"), "x").unwrap();
    std::fs::write(&file, "one").unwrap();
    // A hangup is taken in order after these, and its reload is the only one.
    running.hangup.notify_one();
    running
        .until(|board, _| board.last().as_deref() == Some("one"))
        .await;
    assert_eq!(running.board.loads.load(SeqCst), loads + 1);
}

#[tokio::test]
async fn hangup_reloads_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, "one").unwrap();
    let running = Running::start(file);
    for count in 1..=2 {
        running.hangup.notify_one();
        running
            .until(|board, _| board.published.lock().unwrap().len() == count)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn polling_finds_changes_where_nothing_can_be_watched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("absent").join("gateway.yaml");
    let board = Arc::new(Board::default());
    let source = TextSource {
        file: file.clone(),
        board: Arc::clone(&board),
        write_during_load: None,
    };
    let files = BTreeSet::from([file.clone()]);
    let seen = Seen {
        digests: Digests::of(&files),
        files,
    };
    let host = Host::of(Metrics::new());
    let reloader = Reloader::new(source, seen, Arc::default(), Timing::default(), host);
    assert!(!reloader.watch.is_complete());
    let task = tokio::spawn(reloader.run());
    std::fs::create_dir(dir.path().join("absent")).unwrap();
    std::fs::write(&file, "one").unwrap();
    while board.last().as_deref() != Some("one") {
        sleep(Duration::from_secs(1)).await;
    }
    task.abort();
}

#[test]
fn load_settled_reads_again_what_changed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, "one").unwrap();
    let before = Digests::of(&BTreeSet::from([file.clone()]));
    let mut source = TextSource {
        file,
        board: Arc::default(),
        write_during_load: Some("two"),
    };
    let (result, _) = load_settled(|| source.load(), before);
    assert_eq!(result.unwrap().state, "two");
}

#[test]
fn digest_tells_contents_apart_and_absence_from_emptiness() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    let of = |file: &Path| Digests::of(&BTreeSet::from([file.to_owned()]));
    let absent = of(&file);
    std::fs::write(&file, "").unwrap();
    let empty = of(&file);
    std::fs::write(&file, "x").unwrap();
    assert_ne!(absent, empty);
    assert_ne!(empty, of(&file));
    assert_eq!(of(&file), of(&file));
}
