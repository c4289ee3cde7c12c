//! Kill -9 of the real authority, 200 times in the middle of CSR handling, over its own HTTPS: after each
//! start every CSR is in a legal state, nothing that was acknowledged is lost, nothing that was deleted is
//! back, and no serial number is there twice.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{PATIENCE, Running};
use data_encoding::BASE64;
use eyesplice_proto::tls::provider;
use rcgen::{CertificateParams, DnType, KeyPair};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How often it is killed.
const KILLS: usize = 200;
/// Clients at once.
const CLIENTS: usize = 3;
/// It is killed after at most so many acknowledged requests, and then up to two milliseconds later.
const MOST_ACKNOWLEDGED: u32 = 12;
const MOST_DELAY_US: u32 = 2000;
/// CSRs that are left alive.
const ALIVE: usize = 10;

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: '127.0.0.1:0', tlsCertFile: pki/apiserver.crt, tlsPrivateKeyFile: pki/apiserver.key}
authentication: {clientCAFile: pki/ca.crt}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kube-apiserver-client, certFile: pki/ca.crt, keyFile: pki/ca.key}
limits: {maxCreatesPerMinute: 100000}
admin: {address: '127.0.0.1:0'}
";

/// An administrator, who may do everything.
#[derive(Clone)]
struct Client {
    address: String,
    tls: Arc<ClientConfig>,
}

impl Client {
    fn config(dir: &Path) -> Arc<ClientConfig> {
        let read = |name: &str| std::fs::read(dir.join("pki").join(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&read("ca.crt")).unwrap())
            .unwrap();
        let kubeconfig: Value = serde_saphyr::from_slice(&read("admin.kubeconfig")).unwrap();
        let user = &kubeconfig["users"][0]["user"];
        let data = |field: &str| {
            BASE64
                .decode(user[field].as_str().unwrap().as_bytes())
                .unwrap()
        };
        let chain = CertificateDer::pem_slice_iter(&data("client-certificate-data"))
            .collect::<Result<_, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(&data("client-key-data")).unwrap();
        let provider = provider::shared();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key);
        Arc::new(config.unwrap())
    }

    /// Asks once; `None` if the authority was killed before it had answered.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let socket = TcpStream::connect(&self.address).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        // A cut shows as an error, or as a body that ends too early.
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().unwrap();
        Some((code, serde_json::from_str(body).ok()?))
    }
}

/// What was acknowledged of one CSR.
#[derive(Clone, Debug, Default)]
struct Said {
    approved: bool,
    serial: Option<String>,
    deleting: bool,
    deleted: bool,
}

type Book = Arc<Mutex<HashMap<String, Said>>>;

fn random(below: u32) -> u32 {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes) % below
}

fn request() -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "jane");
    let key = KeyPair::generate().unwrap();
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    BASE64.encode(pem.as_bytes())
}

fn serial_of(object: &Value) -> Option<String> {
    let pem = object["status"]["certificate"].as_str()?;
    let der = CertificateDer::from_pem_slice(&BASE64.decode(pem.as_bytes()).unwrap()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    Some(certificate.raw_serial_as_string())
}

/// Creates, approves, reads and deletes, until the authority is gone.
fn work(client: &Client, prefix: &str, book: &Book, acknowledged: &Sender<()>) -> Option<()> {
    let ask = |method: &str, path: String, body: &Value, wanted: u16| {
        let (code, answer) = client.ask(method, &path, body)?;
        assert_eq!(code, wanted, "{method} {path}: {answer}");
        let _ = acknowledged.send(());
        Some(answer)
    };
    let note = |name: &str, change: &dyn Fn(&mut Said)| {
        change(book.lock().unwrap().entry(name.to_owned()).or_default());
    };
    let request = request();
    for index in 0.. {
        let name = format!("{prefix}-{index}");
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": request,
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        });
        let mut object = ask("POST", CSRS.to_owned(), &object, 201)?;
        note(&name, &|_| {});
        let own = format!("{CSRS}/{name}");
        object["status"]["conditions"] = json!([{
            "type": "Approved", "status": "True", "reason": "Test", "message": "by the test",
        }]);
        ask("PUT", format!("{own}/approval"), &object, 200)?;
        note(&name, &|said| said.approved = true);
        let serial = loop {
            if let Some(serial) = serial_of(&ask("GET", own.clone(), &Value::Null, 200)?) {
                break serial;
            }
        };
        note(&name, &|said| said.serial = Some(serial.clone()));
        if index % 2 == 1 {
            note(&name, &|said| said.deleting = true);
            ask("DELETE", own, &Value::Null, 200)?;
            note(&name, &|said| said.deleted = true);
        }
    }
    None
}

/// Works against the authority and kills it at a point that chance picks.
fn work_and_kill(authority: &mut Running, client: &Client, round: usize, book: &Book) {
    let (sender, acknowledged) = channel();
    std::thread::scope(|scope| {
        for worker in 0..CLIENTS {
            let sender = sender.clone();
            scope.spawn(move || {
                let _ = work(client, &format!("r{round:03}-{worker}"), book, &sender);
            });
        }
        for _ in 0..=random(MOST_ACKNOWLEDGED) {
            acknowledged.recv_timeout(PATIENCE).unwrap();
        }
        let later = Instant::now() + Duration::from_micros(random(MOST_DELAY_US).into());
        while Instant::now() < later {
            std::hint::spin_loop();
        }
        authority.child.kill().unwrap();
        authority.wait();
    });
}

/// Lists everything, once the authority has done what it had to do.
fn settled(client: &Client) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, list) = client.ask("GET", CSRS, &Value::Null).unwrap();
        assert_eq!(code, 200, "{list}");
        let items = list["items"].as_array().unwrap();
        let waits = |object: &&Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.is_some_and(|all| !all.is_empty()) && serial_of(object).is_none()
        };
        match items.iter().find(waits) {
            None => return items.clone(),
            Some(object) => assert!(Instant::now() < end, "never signed: {object}"),
        }
    }
}

fn check(
    objects: &[Value],
    book: &mut HashMap<String, Said>,
    owners: &mut HashMap<String, String>,
) {
    let mut there = HashSet::new();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let conditions = object["status"]["conditions"].as_array();
        let kinds: Vec<&str> = conditions
            .into_iter()
            .flatten()
            .map(|condition| condition["type"].as_str().unwrap())
            .collect();
        let serial = serial_of(object);
        match serial {
            Some(_) => assert_eq!(kinds, ["Approved"], "{object}"),
            None => assert!(kinds.is_empty(), "{object}"),
        }
        if let Some(serial) = &serial {
            let owner = owners
                .entry(serial.clone())
                .or_insert_with(|| name.to_owned());
            assert_eq!(owner, name, "serial number {serial} is used twice");
        }
        if let Some(said) = book.get(name) {
            assert!(!said.deleted, "{name} is back");
            assert!(
                !said.approved || serial.is_some(),
                "the approval of {name} is lost"
            );
            assert!(
                said.serial.is_none() || said.serial == serial,
                "{name} was signed again"
            );
        }
        there.insert(name.to_owned());
    }
    for (name, said) in &*book {
        assert!(said.deleting || there.contains(name), "{name} is lost");
        if let Some(serial) = &said.serial {
            let owner = owners.entry(serial.clone()).or_insert_with(|| name.clone());
            assert_eq!(owner, name, "serial number {serial} is used twice");
        }
    }
    book.retain(|name, _| there.contains(name));
}

#[test]
fn authority_that_is_killed_200_times_loses_nothing_and_signs_once() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let made = Command::new(child::EYESPLICE)
        .args(["pki", "init", "--apiserver", "127.0.0.1"])
        .args(["--server", "https://127.0.0.1:6443"])
        .arg(dir.join("pki"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::write(dir.join("authority.yaml"), AUTHORITY).unwrap();
    let tls = Client::config(dir);
    let book = Book::default();
    let mut owners = HashMap::new();
    for round in 0..=KILLS {
        let mut authority = Running::start("authority", dir, "authority.yaml");
        let client = Client {
            address: authority.address("authority listens"),
            tls: Arc::clone(&tls),
        };
        let objects = settled(&client);
        check(&objects, &mut book.lock().unwrap(), &mut owners);
        for object in objects.iter().skip(ALIVE) {
            let name = object["metadata"]["name"].as_str().unwrap();
            let path = format!("{CSRS}/{name}");
            let deleted = client.ask("DELETE", &path, &Value::Null).unwrap();
            assert_eq!(deleted.0, 200, "{}", deleted.1);
            book.lock().unwrap().remove(name);
        }
        if round < KILLS {
            work_and_kill(&mut authority, &client, round, &book);
        }
    }
    assert!(owners.len() >= KILLS, "only {} certificates", owners.len());
}
