//! The way to an agent: what it is asked and told of a drill, and its admin address as one such way. Another one is the stream that
//! it holds to its hub; both carry the same words, and answers have the same form.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::{fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// An answer is no longer than this: a page of 1000 decisions.
const ANSWER_LIMIT: usize = 16 << 20;

/// What an agent is asked or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Would it begin a fault? As a query has it: `id=..&kind=Abort&zone=..&expires=60s&by=..`.
    May(String),
    /// Begin a fault; the same query.
    Start(String),
    /// End the fault of a drill.
    End {
        /// The drill.
        id: String,
        /// By whom, for people.
        by: String,
    },
    /// Which faults run.
    Faults,
    /// What its clock says.
    Clock,
    /// Its timeline after the record of this number, a page of it.
    Decisions(u64),
    /// What goes where: of one service, or of all.
    Traffic(Option<String>),
    /// What is in force there.
    InForce,
}

/// What it answers: a status as HTTP has it, and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200: it is so. 400: the word cannot be read. 404: there is nothing of it here. 409: it would do harm.
    pub status: u16,
    /// What was asked for; otherwise an object whose `error` says why.
    pub body: Bytes,
}

impl Answer {
    pub(super) const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// An answer that is still to come, or why there is none.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// The way to one agent. `Display` is how people know it.
pub trait Line: fmt::Debug + fmt::Display + Send + Sync {
    /// Says a word. Without an answer within `limit` there is none.
    fn say(&self, word: Word, limit: Duration) -> Answering<'_>;
}

/// An agent's admin address, over HTTP/1.
#[derive(Clone, Copy, Debug)]
struct Admin(SocketAddr);

/// The way to the agent with this admin address.
#[must_use]
pub fn admin(address: SocketAddr) -> Arc<dyn Line> {
    Arc::new(Admin(address))
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Line for Admin {
    fn say(&self, word: Word, limit: Duration) -> Answering<'_> {
        Box::pin(async move {
            let (method, path) = asked(&word);
            match tokio::time::timeout(limit, exchange(self.0, method, &path)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(format!("the agent at {self} cannot be asked: {error}")),
                Err(_) => Err(format!("the agent at {self} gave no answer within {limit:?}")),
            }
        })
    }
}

fn asked(word: &Word) -> (Method, String) {
    match word {
        Word::May(query) => (Method::POST, format!("/api/v1/drills?{query}&dryRun=true")),
        Word::Start(query) => (Method::POST, format!("/api/v1/drills?{query}")),
        Word::End { id, by } => {
            (Method::DELETE, format!("/api/v1/drills/{}?by={}", encoded(id), encoded(by)))
        }
        Word::Faults => (Method::GET, "/api/v1/drills".to_owned()),
        Word::Clock => (Method::GET, "/api/v1/time".to_owned()),
        Word::Decisions(after) => (Method::GET, format!("/api/v1/decisions?after={after}")),
        Word::Traffic(None) => (Method::GET, "/api/v1/traffic".to_owned()),
        Word::Traffic(Some(service)) => {
            (Method::GET, format!("/api/v1/traffic?service={}", encoded(service)))
        }
        Word::InForce => (Method::GET, "/api/v1/in-force".to_owned()),
    }
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

type Unsaid = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(agent: SocketAddr, method: Method, path: &str) -> Result<Answer, Unsaid> {
    let stream = TcpStream::connect(agent).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", agent.to_string());
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status, body })
}
