//! The sandbox of real processes: that each is in one, what a reload can do there, and that it is
//! seen where it is off. Ways out of it are tried in `control/process/tests/escape`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use eyesplice_sys::probe::{landlock_abi, seccomp_filters};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const GATEWAY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock, mode: '0600'}
egress:
  rules:
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate, protocol: kubelet}
kubelet:
  caFile: KUBELET-CA
  clientCertFile: pki/eyesplice-kubelet-client.crt
  clientKeyFile: pki/eyesplice-kubelet-client.key
  apiserverClientCAFile: pki/ca.crt
  apiserverClientNames: [kube-apiserver-kubelet-client]
  inventoryFile: INVENTORY
egressCA: {certFile: pki/egress-ca.crt, keyFile: pki/egress-ca.key}
engine: {workers: 2}
admin: {address: '127.0.0.1:0'}
audit: {path: audit.log}
";

const AGENT: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AgentConfig
identity: {certFile: pki/agent-edge-1.crt, keyFile: pki/agent-edge-1.key}
gateways: {addresses: ['127.0.0.1:1'], caFile: pki/egress-ca.crt}
allow: {kubelet: {address: 127.0.0.1, port: 10250}}
engine: {workers: 2}
admin: {address: '127.0.0.1:0'}
audit: {path: agent-audit.log}
";

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen:
  address: '127.0.0.1:0'
  tlsCertFile: pki/apiserver.crt
  tlsPrivateKeyFile: pki/apiserver.key
authentication: {clientCAFile: pki/ca.crt}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kube-apiserver-client, certFile: pki/ca.crt, keyFile: pki/ca.key}
admin: {address: '127.0.0.1:0'}
";

const CLUSTER: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
cluster: {kubeconfigFile: kubeconfig}
signers:
- {signerName: kubernetes.io/kube-apiserver-client, certFile: pki/ca.crt, keyFile: pki/ca.key}
admin: {address: '127.0.0.1:0'}
";

const RELOADED: &str = "configuration reloaded; in force for new streams";
const REFUSED: &str = "configuration not reloaded; the last good state stays in force";

/// Certificates, and configurations beside them.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new(EYESPLICE)
            .args(["pki", "init", "--node", "worker-3=10.0.0.7"])
            .args(["--agent", "edge-1", "--apiserver", "127.0.0.1"])
            .args(["--server", "https://127.0.0.1:6443"])
            .arg(dir.path().join("pki"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let site = Self(dir);
        fs::create_dir(site.path("mounted")).unwrap();
        for version in ["..1", "..2"] {
            let data = site.path("mounted").join(version);
            fs::create_dir(&data).unwrap();
            let content = fs::read(site.path("pki/kubelet-serving-ca.crt")).unwrap();
            // Another content is what a reload sees.
            fs::write(
                data.join("ca.crt"),
                [&content[..], version.as_bytes()].concat(),
            )
            .unwrap();
        }
        symlink("..1", site.path("mounted/..data")).unwrap();
        symlink("..data/ca.crt", site.path("mounted/ca.crt")).unwrap();
        site.write("gateway.yaml", &site.gateway("pki/inventory.yaml"));
        site.write("agent.yaml", AGENT);
        site.write("authority.yaml", AUTHORITY);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn gateway(&self, inventory: &str) -> String {
        GATEWAY
            .replace("KUBELET-CA", "mounted/ca.crt")
            .replace("INVENTORY", inventory)
    }

    /// Starts a process, and waits for its admin endpoint.
    fn start(&self, command: &str, more: &[&str]) -> (Running, String) {
        let mut program = Command::new(EYESPLICE);
        program
            .args([command, "--log-format", "json", "--config"])
            .arg(self.path(&format!("{command}.yaml")))
            .args(more);
        let running = Running::of(&mut program);
        let admin = running.address("admin endpoint listens");
        (running, admin)
    }
}

/// Of each thread of a process, its name and a line of its status.
fn of_threads(running: &Running, field: &str) -> Vec<(String, String)> {
    let tasks = Path::new("/proc")
        .join(running.child.id().to_string())
        .join("task");
    let mut found = Vec::new();
    for task in fs::read_dir(tasks).unwrap() {
        // One that has just ended says nothing.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let name = line("Name:");
        // The kernel's own, of a ring, run no code of ours.
        if !name.starts_with("iou-") {
            found.push((name, line(field)));
        }
    }
    found
}

fn assert_confined(running: &Running) {
    let mut want = vec![("NoNewPrivs:", "1"), ("CapEff:", "0000000000000000")];
    if seccomp_filters().is_ok() {
        want.push(("Seccomp:", "2"));
    }
    for (field, value) in want {
        let threads = of_threads(running, field);
        assert!(threads.len() > 2, "{threads:?}");
        for (name, seen) in threads {
            assert_eq!(seen, value, "{field} of {name}");
        }
    }
}

fn sandbox_rows(metrics: &str) -> Vec<(&str, &str)> {
    let rows = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("eyesplice_sandbox{part=\"")?;
        rest.split_once("\"} ")
    });
    rows.collect()
}

#[test]
fn each_process_is_confined_in_every_thread_and_says_how_far() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    for (command, running_since) in [
        ("gateway", Some("engine runs")),
        ("agent", Some("engine runs")),
        ("authority", Some("authority listens")),
    ] {
        let mut program = Command::new(EYESPLICE);
        program
            .args([command, "--log-format", "json", "--config"])
            .arg(site.path(&format!("{command}.yaml")));
        let running = Running::of(&mut program);
        let entered = running.event("sandbox is entered");
        let files = entered["files"].as_str().unwrap().to_owned();
        let admin = running.address("admin endpoint listens");
        if let Some(message) = running_since {
            running.event(message);
        }
        assert_confined(&running);
        let metrics = get(&admin, "/metrics");
        let rows = sandbox_rows(&metrics);
        let on = |part: &str| rows.contains(&(part, "1"));
        assert!(on("privileges") && on("dumps"), "{rows:?}");
        assert_eq!(on("files"), landlock_abi().is_ok(), "{rows:?}");
        assert_eq!(on("calls"), seccomp_filters().is_ok(), "{rows:?}");
        // Port 0 is any port, so there is no rule about it.
        assert!(!on("ports"), "{rows:?}");
        if let Ok(abi) = landlock_abi() {
            assert!(
                files.starts_with(&format!("confined (Landlock ABI {abi}")),
                "{files}"
            );
            let ready = get(&admin, "/readyz?verbose");
            assert!(!ready.contains("sandbox"), "{ready}");
        }
    }
}

#[test]
fn sandbox_that_is_off_is_seen_in_log_metrics_and_readiness() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let mut program = Command::new(EYESPLICE);
    program
        .args(["gateway", "--log-format", "json", "--insecure-no-sandbox"])
        .arg("--config")
        .arg(site.path("gateway.yaml"));
    let running = Running::of(&mut program);
    running.event(
        "INSECURE: the sandbox is off: a fault in this process opens every file, port and program \
         that its user may use; remove --insecure-no-sandbox",
    );
    let admin = running.address("admin endpoint listens");
    running.event("engine runs");
    for (name, seccomp) in of_threads(&running, "Seccomp:") {
        assert_eq!(seccomp, "0", "{name}");
    }
    let metrics = get(&admin, "/metrics");
    let rows = sandbox_rows(&metrics);
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(rows.iter().all(|(_, on)| *on == "0"), "{rows:?}");
    let ready = get(&admin, "/readyz");
    assert!(
        ready.contains("[+]sandbox ok, but: off by --insecure-no-sandbox"),
        "{ready}"
    );
}

#[test]
fn gateway_reloads_after_each_way_of_replacing_a_file() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let (mut running, _) = site.start("gateway", &[]);
    running.event("engine runs");
    let inventory = site.path("pki/inventory.yaml");
    let text = fs::read_to_string(&inventory).unwrap();

    // In place.
    fs::write(&inventory, format!("{text}# a\n")).unwrap();
    running.event(RELOADED);
    // Another file under the name.
    fs::write(site.path("pki/new"), format!("{text}# b\n")).unwrap();
    fs::rename(site.path("pki/new"), &inventory).unwrap();
    running.event(RELOADED);
    // The link beside a mounted secret.
    symlink("..2", site.path("mounted/..new")).unwrap();
    fs::rename(site.path("mounted/..new"), site.path("mounted/..data")).unwrap();
    running.event(RELOADED);
    // A directory as a whole, below one that is named.
    let copied = Command::new("cp")
        .args(["-a", "pki", "next"])
        .current_dir(site.0.path())
        .status();
    assert!(copied.unwrap().success());
    fs::write(site.path("next/inventory.yaml"), format!("{text}# c\n")).unwrap();
    fs::rename(site.path("pki"), site.path("before")).unwrap();
    fs::rename(site.path("next"), site.path("pki")).unwrap();
    running.signal(Signal::SIGHUP);
    running.event(RELOADED);
    // The audit log, as logrotate moves it.
    fs::rename(site.path("audit.log"), site.path("audit.log.1")).unwrap();
    running.signal(Signal::SIGHUP);
    // By its file: the signal before has it opened again, too, and says so perhaps only now.
    let end = Instant::now() + PATIENCE;
    while !site.path("audit.log").exists() {
        assert!(Instant::now() < end, "the audit log is not opened again");
        std::thread::yield_now();
    }
    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
}

#[test]
fn reload_that_names_a_new_directory_keeps_the_old_configuration_and_asks_for_a_new_process() {
    if !kernel_can() || landlock_abi().is_err() {
        return;
    }
    let site = Site::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let inventory = elsewhere.path().join("inventory.yaml");
    fs::copy(site.path("pki/inventory.yaml"), &inventory).unwrap();
    let (mut running, admin) = site.start("gateway", &[]);
    running.event("engine runs");

    // As a whole, or a half of it would be another error.
    site.write("new.yaml", &site.gateway(inventory.to_str().unwrap()));
    fs::rename(site.path("new.yaml"), site.path("gateway.yaml")).unwrap();
    let said = running.event("configuration is not valid");
    let said = said["error"].as_str().unwrap();
    let path = inventory.display().to_string();
    assert!(said.starts_with(&path), "{said}");
    assert!(said.contains("outside of the sandbox"), "{said}");
    assert!(said.contains("systemctl restart"), "{said}");
    running.event(REFUSED);
    let metrics = get(&admin, "/metrics");
    assert!(metrics.contains("eyesplice_config_last_reload_successful 0"));
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));

    running.signal(Signal::SIGTERM);
    assert!(running.wait().success());
    let (next, _) = site.start("gateway", &[]);
    next.event("engine runs");
}

#[test]
fn credential_that_a_program_gives_is_refused_in_the_sandbox() {
    let site = Site::new();
    let kubeconfig = "\
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1', certificate-authority: pki/ca.crt}}]
users:
- name: a
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: /bin/true
      interactiveMode: Never
";
    site.write("kubeconfig", kubeconfig);
    site.write("authority.yaml", CLUSTER);
    let output = Command::new(EYESPLICE)
        .args(["authority", "--config"])
        .arg(site.path("authority.yaml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("the credential of a is a program's"),
        "{said}"
    );
    assert!(said.contains("the sandbox starts no program"), "{said}");
}

#[test]
fn probe_tells_what_a_sandbox_is_made_of() {
    let output = Command::new(EYESPLICE)
        .args(["probe", "-o", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let capabilities = report["capabilities"].as_array().unwrap();
    let present = |name: &str| {
        let found = capabilities.iter().find(|each| each["name"] == name);
        found.unwrap()["present"].as_bool().unwrap()
    };
    assert_eq!(present("Landlock for files"), landlock_abi().is_ok());
    assert_eq!(present("seccomp filters"), seccomp_filters().is_ok());
}
