//! A cluster with one pod, and a gateway that its users come to.

use eyesplice_dataplane::seam::{ApiPath, ExchangeLabels, StreamRecord};
use eyesplice_tests::cluster::{Client, Cluster, Server};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::front_stack::{Front, Settings};
use eyesplice_tests::http::{Head, read_head};
use eyesplice_tests::kubelet::{Kubelet, Log, serve};
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::tls;
use eyesplice_tests::world::{POD, World};
use rustls::version::TLS13;
use std::sync::Arc;

/// With all that is needed for the short way.
pub(crate) const TRUSTED: &str = "shortWay: {admission: trusted}";

/// What a client sends to run a command.
pub(crate) const EXEC: &str = "exec?command=hunter2&stdin=true&stdout=true&stderr=true";

/// The header of a token.
pub(crate) const TOKEN: (&str, &str) = ("Authorization", "Bearer good-token");

/// The headers of an upgrade to SPDY.
pub(crate) const SPDY: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "SPDY/3.1"),
    ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ("Content-Length", "0"),
];

/// Everything. Fields are dropped from the first on: who asks before who answers.
pub(crate) struct Bed {
    pub(crate) front: Front,
    pub(crate) cluster: Cluster,
    pub(crate) server: Server,
    pub(crate) kubelet: Kubelet,
    pub(crate) world: Arc<World>,
}

impl Bed {
    pub(crate) fn new(short_way: &'static str) -> Self {
        Self::with(short_way, Presented::Good, serve)
    }

    /// With a kubelet that presents and does this.
    pub(crate) fn with(
        short_way: &'static str,
        presented: Presented,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        Self::of((short_way, Vec::new()), presented, script)
    }

    /// With fields of `front` for the short way, and files that they name.
    pub(crate) fn of(
        (short_way, files): (&'static str, Vec<(&'static str, String)>),
        presented: Presented,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        let config = tls::server(&presented.identity(pki()), &pki().clients, &TLS13);
        let kubelet = Kubelet::with(Some(config), script);
        let world = Arc::new(World::new(kubelet.target().parse().unwrap()));
        let cluster = Cluster::new();
        let server = cluster.api_server_of(Some(Arc::clone(&world)));
        let settings = Settings {
            short_way: Some(short_way),
            files,
            ..Settings::of(&[&server])
        };
        Self {
            front: Front::start(&cluster, &settings),
            cluster,
            server,
            kubelet,
            world,
        }
    }

    /// A client that has asked for an upgrade, and the head of the answer.
    pub(crate) fn upgrade(
        &self,
        method: &str,
        stream: &str,
        headers: &[(&str, &str)],
    ) -> (Client, Head) {
        let mut client = self.front.client(&self.cluster, None);
        client.send(method, &format!("{POD}/{stream}"), headers);
        let head = read_head(&mut client.0).unwrap();
        (client, head)
    }

    /// A client that runs a command as kubectl does by SPDY, with a token.
    pub(crate) fn exec(&self) -> (Client, Head) {
        self.upgrade("POST", EXEC, &[&SPDY[..], &[TOKEN]].concat())
    }

    /// The next record of an ended request, which went so.
    #[track_caller]
    pub(crate) fn went(&self, path: ApiPath) -> StreamRecord {
        let record = self.front.ended();
        let labels: &ExchangeLabels = record.exchange_labels.as_ref().unwrap();
        assert_eq!(labels.path, Some(path), "{record:#?}");
        assert!(!format!("{record:?}").contains("hunter2"));
        record
    }

    /// The targets of all streams that came to the API server.
    pub(crate) fn through(&self) -> Vec<String> {
        let heads = self.server.of_users();
        heads.iter().map(|head| head.target().to_owned()).collect()
    }

    /// The targets of all requests that came to the kubelet.
    pub(crate) fn past(&self) -> Vec<String> {
        let heads = self.kubelet.heads();
        heads.iter().map(|head| head.target().to_owned()).collect()
    }
}

/// Sends bytes back and forth, and ends.
pub(crate) fn echoed(mut client: Client) {
    client.0.write_all(b"stdin").unwrap();
    assert_eq!(client.0.read_exact(5).unwrap(), b"stdin");
    client.0.shut().unwrap();
    assert_eq!(client.0.read_to_end(), (Vec::new(), Ending::Clean));
}
