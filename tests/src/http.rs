//! HTTP/1.1 as the fakes read it: simple, and not the gateway's own code.

use crate::conn::{Conn, Ending, Got};

/// A head as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Everything up to the blank line, which is included.
    pub raw: String,
}

impl Head {
    /// The first line.
    pub fn first(&self) -> &str {
        self.raw.lines().next().unwrap_or_default()
    }

    /// The status of a reply; 0 if it is none.
    pub fn status(&self) -> u16 {
        let word = self.first().split(' ').nth(1);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// The reason phrase of a reply.
    pub fn reason(&self) -> &str {
        self.first().splitn(3, ' ').nth(2).unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first().split(' ').nth(1).unwrap_or_default()
    }

    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self
            .raw
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The only value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.all(name).as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }
}

/// Reads a head and no byte more.
///
/// # Errors
/// How it ended before the head was complete, with what there was of it.
pub fn read_head(conn: &mut Conn) -> Result<Head, (String, Ending)> {
    let mut raw = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match conn.read(&mut buffer) {
            Got::Data(n) => {
                // The blank line may begin in what was read before.
                let from = raw.len().saturating_sub(3);
                raw.extend_from_slice(&buffer[..n]);
                let blank = raw[from..]
                    .windows(4)
                    .position(|window| window == b"\r\n\r\n");
                if let Some(at) = blank {
                    let end = from + at + 4;
                    conn.unread(&raw[end..]);
                    raw.truncate(end);
                    return Ok(Head {
                        raw: String::from_utf8(raw).unwrap(),
                    });
                }
            }
            Got::End(ending) => return Err((String::from_utf8_lossy(&raw).into_owned(), ending)),
            Got::Blocked => {}
        }
    }
}

/// A body, and whether it was whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it; the connection goes on.
    Whole(Vec<u8>),
    /// It was delimited by the connection's end, which was so.
    UntilEnd(Vec<u8>, Ending),
    /// It ended before its length or last chunk.
    Cut(Vec<u8>, Ending),
}

impl Body {
    /// The bytes that came.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::UntilEnd(bytes, _) | Self::Cut(bytes, _) => bytes,
        }
    }

    /// Whether a client would take it for complete.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::UntilEnd(_, Ending::Clean))
    }
}

/// Reads the body that belongs to a head; `request`: without a length there is none.
pub fn read_body(conn: &mut Conn, head: &Head, request: bool) -> Body {
    if !request && matches!(head.status(), 101 | 204 | 304) {
        return Body::Whole(Vec::new());
    }
    if head.get("transfer-encoding").is_some() {
        return read_chunks(conn);
    }
    if let Some(length) = head.get("content-length") {
        return read_length(conn, length.parse().unwrap());
    }
    if request {
        return Body::Whole(Vec::new());
    }
    let (bytes, ending) = conn.read_to_end();
    Body::UntilEnd(bytes, ending)
}

fn read_length(conn: &mut Conn, length: usize) -> Body {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while bytes.len() < length {
        let room = buffer.len().min(length - bytes.len());
        match conn.read(&mut buffer[..room]) {
            Got::Data(n) => bytes.extend_from_slice(&buffer[..n]),
            Got::End(ending) => return Body::Cut(bytes, ending),
            Got::Blocked => {}
        }
    }
    Body::Whole(bytes)
}

fn read_chunks(conn: &mut Conn) -> Body {
    let mut bytes = Vec::new();
    loop {
        let line = match read_line(conn) {
            Ok(line) => line,
            Err(ending) => return Body::Cut(bytes, ending),
        };
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        match read_length(conn, size) {
            Body::Whole(chunk) => bytes.extend(chunk),
            other => {
                bytes.extend_from_slice(other.bytes());
                let Body::Cut(_, ending) = other else {
                    unreachable!()
                };
                return Body::Cut(bytes, ending);
            }
        }
        // The line end of the chunk, or the lines of the trailer up to the blank one.
        loop {
            match read_line(conn) {
                Ok(line) if line.is_empty() => break,
                Ok(_) => {}
                Err(ending) => return Body::Cut(bytes, ending),
            }
        }
        if size == 0 {
            return Body::Whole(bytes);
        }
    }
}

fn read_line(conn: &mut Conn) -> Result<String, Ending> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(conn.read_exact(1)?);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8(line).unwrap())
}

/// A reply with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.bytes()).into_owned()
    }
}

/// Reads the final reply to a request; interim ones are passed over.
///
/// # Errors
/// As [`read_head`].
pub fn read_reply(conn: &mut Conn, method: &str) -> Result<Reply, (String, Ending)> {
    loop {
        let head = read_head(conn)?;
        if matches!(head.status(), 100 | 102..=199) {
            continue;
        }
        let body = if method == "HEAD" {
            Body::Whole(Vec::new())
        } else {
            read_body(conn, &head, false)
        };
        return Ok(Reply { head, body });
    }
}
