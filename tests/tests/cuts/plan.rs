//! Every cut that there can be: mode, transport, side, kind and phase, and what each may look like.

use eyesplice_tests::rng::Rng;
use eyesplice_tests::scripted::Answer;
use eyesplice_tests::variant::Transport;
use std::fmt;

/// How a side is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// RST, asked for.
    Reset,
    /// Closed with unread input, as by a process that is killed: RST, or what a UNIX socket has for it.
    Close,
    /// FIN without close_notify.
    Fin,
    /// FIN inside of a record.
    TornRecord,
    /// A clean end inside of an HTTP body.
    TornBody,
    /// An answer to an upload that goes on, and a close with the rest unread.
    EarlyAnswer,
}

/// When it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It has sent nothing yet.
    BeforeReply,
    /// Behind small messages.
    Small,
    /// In the middle of bulk.
    Bulk,
    /// The other side has ended cleanly.
    HalfClosed,
    /// Nothing is under way.
    Idle,
}

/// Which side is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// The API server.
    Downstream,
    /// The target.
    Upstream,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) mode: Answer,
    pub(crate) transport: Transport,
    pub(crate) cut: Cut,
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
}

/// The lanes: each has a gateway of its own.
pub(crate) const MODES: [Answer; 4] = [
    Answer::Splice,
    Answer::Originate,
    Answer::Opaque,
    Answer::Kubelet,
];

const KINDS: [Kind; 6] = [
    Kind::Reset,
    Kind::Close,
    Kind::Fin,
    Kind::TornRecord,
    Kind::TornBody,
    Kind::EarlyAnswer,
];

const PHASES: [Phase; 5] = [
    Phase::BeforeReply,
    Phase::Small,
    Phase::Bulk,
    Phase::HalfClosed,
    Phase::Idle,
];

impl Cell {
    /// Whether there is such a cut.
    fn exists(self) -> bool {
        let unix_client = self.cut == Cut::Downstream && self.transport == Transport::Unix;
        match self.kind {
            // A UNIX socket can only be closed; without unread input that is an end.
            Kind::Reset => !unix_client,
            Kind::Close => true,
            // Without TLS, FIN is an end.
            Kind::Fin | Kind::TornRecord => self.speaks_tls(),
            Kind::TornBody => {
                self.mode == Answer::Kubelet && matches!(self.phase, Phase::Small | Phase::Bulk)
            }
            Kind::EarlyAnswer => {
                self.cut == Cut::Upstream && matches!(self.phase, Phase::Small | Phase::Bulk)
            }
        }
    }

    /// Whether the side that is cut speaks TLS with the gateway.
    fn speaks_tls(self) -> bool {
        match self.cut {
            Cut::Upstream => self.mode != Answer::Splice,
            Cut::Downstream => self.transport == Transport::Tcp || self.terminates(),
        }
    }

    fn terminates(self) -> bool {
        matches!(self.mode, Answer::Opaque | Answer::Kubelet)
    }

    /// Whether the other side may take the cut for an end: a UNIX socket without TLS knows no cut.
    pub(crate) fn may_be_unseen(self) -> bool {
        self.cut == Cut::Upstream && self.transport == Transport::Unix && !self.terminates()
    }

    /// Whether it is HTTP that is cut, and not an opaque stream.
    pub(crate) fn is_http(self, chance: &Chance) -> bool {
        let http = matches!(self.kind, Kind::TornBody | Kind::EarlyAnswer)
            || self.phase == Phase::BeforeReply
            || (self.floods() && chance.late);
        self.mode == Answer::Kubelet && http
    }

    /// Whether it may be a client in its upload, with a reply on its way that it does not read.
    pub(crate) fn floods(self) -> bool {
        self.cut == Cut::Downstream
            && self.phase == Phase::Bulk
            && matches!(self.kind, Kind::Reset | Kind::Close)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:9} {:4} {:10} {:11} {:11}",
            format!("{:?}", self.mode),
            format!("{:?}", self.transport),
            format!("{:?}", self.cut),
            format!("{:?}", self.kind),
            format!("{:?}", self.phase),
        )
    }
}

/// All cells of a lane.
pub(crate) fn cells(mode: Answer, transport: Transport) -> Vec<Cell> {
    let mut cells = Vec::new();
    for cut in [Cut::Downstream, Cut::Upstream] {
        for kind in KINDS {
            for phase in PHASES {
                cells.push(Cell {
                    mode,
                    transport,
                    cut,
                    kind,
                    phase,
                });
            }
        }
    }
    cells.retain(|cell| cell.exists());
    cells
}

/// What chance decides of one cut.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    /// What the side that is cut sent just before.
    pub(crate) last: Vec<u8>,
    /// What the other side writes meanwhile, and nobody reads.
    pub(crate) upload: usize,
    /// Whether that begins only after the cut, so that a write may be what finds it.
    pub(crate) late: bool,
    /// Whether a side that sends FIN stays, as one that hangs.
    pub(crate) stays: bool,
}

impl Chance {
    /// Draws for a cell.
    pub(crate) fn draw(cell: Cell, rng: &mut Rng) -> Self {
        let amount = match (cell.kind, cell.phase) {
            (Kind::EarlyAnswer, Phase::Small) => 1 + rng.below(400),
            (Kind::EarlyAnswer, _) => 16_000 + rng.below(44_000),
            (_, Phase::BeforeReply | Phase::Idle) => 0,
            (_, Phase::Small) => rng.length(4096),
            (_, Phase::Bulk) => 200_000 + rng.below(800_000),
            (_, Phase::HalfClosed) => rng.length(300_000),
        };
        let uploads = cell.phase != Phase::HalfClosed && rng.one_in(2);
        Self {
            last: rng.bytes(amount),
            upload: if uploads { rng.length(300_000) } else { 0 },
            late: rng.one_in(2),
            stays: rng.one_in(2),
        }
    }
}
