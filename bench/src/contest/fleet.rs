//! Starts the proxies of a scenario, each with its files, on its cores, and ends them.

use super::places::Places;
use super::scenario::{Proxy, Scenario, expand};
use super::version;
use crate::cpu;
use crate::meter::Watched;
use crate::route::Route;
use crate::run::{Ends, probe};
use crate::{Attempt, Error, Result};
use eyesplice_proto::causes::chain;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a proxy may take until it carries a stream.
const START: Duration = Duration::from_secs(20);

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(20);

/// Bytes of what it said that are shown.
const SAID: usize = 2000;

/// How long it may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(5);

/// A proxy that runs; ends when dropped.
pub(crate) struct Running {
    name: String,
    pub(crate) route: Arc<Route>,
    pub(crate) watched: Watched,
    /// What it says of its version, where the scenario knows how to ask.
    pub(super) version: Option<String>,
    process: Option<Child>,
    log: PathBuf,
}

impl Running {
    /// Starts a proxy of a scenario, waits until it carries a stream, and binds all of its threads to its
    /// cores: some bind themselves to others.
    pub(crate) async fn start(
        spec: &Proxy,
        scenario: &Scenario,
        ends: &Ends,
        places: &Places,
    ) -> Result<Self> {
        let directory = ends.directory.path();
        // A directory of its own each time: the sockets of an earlier one may lie there still.
        let own = tempfile::Builder::new()
            .prefix("proxy-")
            .tempdir_in(directory)
            .attempt("make a proxy's directory")?
            .keep();
        let target = ends.target(spec.far_end, spec.route.group);
        let cores = places.of(spec.cores());
        let mut values = values(directory, &own, &target, cores, spec.workers())?;
        let group = spec.route.group.unwrap_or_default().name();
        values.push(("group", group.into()));
        for (name, template) in &spec.files {
            let from = scenario.directory.join(template);
            let text =
                std::fs::read_to_string(&from).attempt(format!("read {}", from.display()))?;
            let path = own.join(name);
            std::fs::write(&path, expand(&text, &values)).attempt(format!("write {name}"))?;
        }
        let mut route = spec.route.clone();
        route.via = expand(&route.via, &values);
        let words = |words: &[String]| -> Vec<_> {
            words.iter().map(|word| expand(word, &values)).collect()
        };
        let command = words(&spec.command);
        let log = own.join("log");
        let process = match command.split_first() {
            None => None,
            Some((program, arguments)) => {
                cpu::pin(cores)?;
                let mut command = Command::new(program);
                let variables = spec.env.iter();
                command
                    .args(arguments)
                    .envs(variables.map(|(name, value)| (name, expand(value, &values))));
                let started = spawn(command, &own, &log);
                cpu::pin(&places.generators)?;
                Some(started?)
            }
        };
        let pids = process
            .iter()
            .map(Child::id)
            .chain(spec.pids.iter().copied());
        let mut running = Self {
            name: spec.name.clone(),
            route: Arc::new(Route::new(&route, &target, &ends.identity)?),
            watched: Watched::new(pids.collect()),
            version: version::ask(&words(&spec.version)),
            process,
            log,
        };
        running.ready(ends).await?;
        // What was running before this is bound as its owner wants it.
        if running.process.is_some() {
            for thread in running.watched.threads().into_keys() {
                cpu::confine(thread, cores)?;
            }
        }
        Ok(running)
    }

    /// Waits until a byte came back: a proxy listens before it has workers, and before they have bound
    /// themselves to cores.
    async fn ready(&mut self, ends: &Ends) -> Result<()> {
        let until = Instant::now() + START;
        loop {
            let probe = probe(&ends.bench, &self.route);
            let error = match tokio::time::timeout(START, probe).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => chain(&error),
                Err(_) => "no answer".into(),
            };
            let ended = match &mut self.process {
                None => None,
                Some(process) => process.try_wait().attempt("look after a proxy")?,
            };
            if ended.is_some() || Instant::now() > until {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Error::Unfit(format!(
                    "proxy {} does not carry a stream: {error}; it said: {}",
                    self.name,
                    end_of(said.trim())
                )));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// The end of what a proxy said: one that refuses all streams for as long as it is asked says much.
fn end_of(said: &str) -> &str {
    said.get(said.ceil_char_boundary(said.len().saturating_sub(SAID))..)
        .unwrap_or_default()
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        drop(process.stdin.take());
        let group = i32::try_from(process.id()).map(Pid::from_raw);
        let signal = |signal| {
            // It may be gone; then there is nothing to end.
            if let Ok(group) = group {
                let _ = killpg(group, signal);
            }
        };
        signal(Signal::SIGTERM);
        let until = Instant::now() + GOODBYE;
        while Instant::now() < until && matches!(process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(Signal::SIGKILL);
        let _ = process.wait();
    }
}

fn spawn(mut command: Command, own: &Path, log: &Path) -> Result<Child> {
    let out = File::create(log).attempt(format!("make {}", log.display()))?;
    let errors = out.try_clone().attempt("share a log")?;
    command
        .current_dir(own)
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .attempt(format!("start {}", command.get_program().display()))
}

/// What stands for what in commands, routes and templates.
fn values(
    directory: &Path,
    own: &Path,
    target: &str,
    cores: &[usize],
    workers: usize,
) -> Result<Vec<(&'static str, String)>> {
    let program = std::env::current_exe().attempt("find the path of this program")?;
    let eyesplice = match std::env::var("EYESPLICE") {
        Ok(path) => path,
        Err(_) => program.with_file_name("eyesplice").display().to_string(),
    };
    let (host, port) = target.rsplit_once(':').unwrap_or((target, ""));
    let names: Vec<_> = cores.iter().map(ToString::to_string).collect();
    let before = std::env::var("BEFORE").ok();
    let mut values = vec![
        ("dir", own.display().to_string()),
        ("certs", directory.display().to_string()),
        ("port", free_port()?.to_string()),
        ("port2", free_port()?.to_string()),
        ("target", target.to_string()),
        ("target_host", host.to_string()),
        ("target_port", port.to_string()),
        ("cores", names.join(",")),
        ("workers", workers.to_string()),
        (
            "peers",
            std::env::var("PEERS").unwrap_or_else(|_| "/usr".into()),
        ),
        ("self", program.display().to_string()),
        ("eyesplice", eyesplice),
    ];
    let newest = std::env::var("NEWEST").ok();
    values.extend(newest.map(|path| ("newest", path)));
    values.extend(before.map(|path| ("before", path)));
    Ok(values)
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").attempt("find a free port")?;
    Ok(listener.local_addr().attempt("find a free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        assert_eq!(end_of("short"), "short");
        let long = format!("{}end", "µ".repeat(SAID));
        let shown = end_of(&long);
        assert!(shown.len() <= SAID && shown.ends_with("µend"));
    }
}
