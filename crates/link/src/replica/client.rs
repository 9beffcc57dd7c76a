//! The listener's side: one link to one address.

use super::{MAX_NAME, MAX_WORD_BYTES, ReplicaEvent, ReplicaWord, SILENT, Shared};
use crate::{
    client::{Backoff, Ending, dial},
    lasting,
    proto::{Listened, Word, replica_client::ReplicaClient},
};
use rustls::ClientConfig;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidegate_model::PeerBoot;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Waits between two dials: a replica that restarts is heard within a second of its start.
const REDIAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// How long an address is left alone at which we ourselves, or a replica that is heard already, or nonsense was found.
const LEAVE_ALONE: Duration = Duration::from_secs(10);
/// The first word of a large fleet may take so long.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// How a link ended.
enum End {
    /// Nobody, or silence.
    Broken(String),
    /// We ourselves, or one that is heard by another link.
    Known,
    /// What was said is not what a replica says, or one side does not believe who the other one is.
    Refused(String),
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Silent => Self::Broken("no answer".to_owned()),
            Ending::Answered(text) | Ending::Broken(text) | Ending::Misrouted(text) => Self::Broken(text),
            Ending::NotBelieved(why) => Self::Refused(why),
        }
    }
}

/// Keeps the link until it is cancelled.
pub(super) async fn run(shared: Arc<Shared>, address: SocketAddr, tls: Option<Arc<ClientConfig>>) {
    let mut backoff = Backoff::new(REDIAL.0, REDIAL.1);
    loop {
        let mut life = None;
        let end = listen(&shared, address, tls.as_ref(), &mut life).await;
        if let Some(life) = life {
            backoff.reset();
            let why = match &end {
                End::Broken(why) | End::Refused(why) => why.clone(),
                End::Known => String::new(),
            };
            life.end(&shared, why).await;
        } else {
            // Fails only if the agent ends.
            let _ = shared.events.send(ReplicaEvent::Absent(address)).await;
        }
        match end {
            End::Broken(why) => {
                tracing::debug!(%address, why, "a replica is not heard");
                backoff.wait().await;
            }
            End::Known => sleep(LEAVE_ALONE).await,
            End::Refused(why) => {
                shared.refuse(&address.to_string(), &why);
                sleep(LEAVE_ALONE).await;
            }
        }
    }
}

/// A life that is heard by this link. Dropped without [`Life::end`] (the link is cancelled), it is forgotten all the same.
struct Life {
    boot: PeerBoot,
    link: CancellationToken,
    shared: Arc<Shared>,
}

impl Life {
    /// Takes the life for this link, if no other link hears it.
    fn take(shared: &Arc<Shared>, boot: PeerBoot) -> Option<Self> {
        let mut heard = shared.heard();
        if boot == shared.boot || heard.contains_key(&boot) {
            return None;
        }
        let link = CancellationToken::new();
        heard.insert(boot, link.clone());
        drop(heard);
        Some(Self { boot, link, shared: Arc::clone(shared) })
    }

    async fn end(self, shared: &Shared, why: String) {
        let _ = shared.events.send(ReplicaEvent::Lost { replica: self.boot, why }).await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.heard().remove(&self.boot);
    }
}

async fn listen(
    shared: &Arc<Shared>,
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    life: &mut Option<Life>,
) -> End {
    let channel = match dial(address, tls).await {
        Ok((channel, _)) => channel,
        Err(ending) => return ending.into(),
    };
    let (out, requests) = mpsc::channel(2);
    let say = |seq| Listened { cluster: shared.own.to_string(), boot_id: shared.boot.0, seq };
    // The channel is new and has room.
    let _ = out.try_send(say(0));
    let mut client = ReplicaClient::new(channel).max_decoding_message_size(MAX_WORD_BYTES);
    let stream = timeout(FIRST_WORD, client.listen(ReceiverStream::new(requests))).await;
    let mut inbound = match stream {
        Err(_) => return End::Broken("no answer".to_owned()),
        Ok(Err(status)) => return Ending::of(&status).into(),
        Ok(Ok(response)) => response.into_inner(),
    };
    let (mut seq, mut last) = (0, Instant::now());
    loop {
        let within = if life.is_some() { SILENT } else { FIRST_WORD };
        let refused = life.as_ref().map(|life| life.link.clone());
        let word = tokio::select! {
            word = timeout(within, inbound.message()) => word,
            () = async { match &refused { Some(link) => link.cancelled().await, None => std::future::pending().await } } => {
                return End::Refused("what it says makes no sense".to_owned());
            }
        };
        let word = match word {
            Err(_) => return End::Broken(format!("it was silent for {} s", within.as_secs())),
            Ok(Err(status)) => return Ending::of(&status).into(),
            Ok(Ok(None)) => return End::Broken("it ended the link".to_owned()),
            Ok(Ok(Some(word))) => word,
        };
        // It may have spoken all the time while we were frozen, and what it said then is old: it has to welcome us anew.
        let since_last = std::mem::replace(&mut last, Instant::now()).elapsed();
        if life.is_some() && since_last > SILENT {
            return End::Broken("we did not listen for a while".to_owned());
        }
        seq += 1;
        if let Err(why) = check(shared, &word, seq, life.as_ref()) {
            return End::Refused(why);
        }
        let replica = PeerBoot(word.boot_id);
        if life.is_none() {
            *life = Life::take(shared, replica);
            if life.is_none() {
                return End::Known;
            }
        }
        let at = shared.now();
        let facts = word.facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
        let lasting = match lasting::decode(word.lasting) {
            Ok(lasting) => lasting,
            Err(why) => return End::Refused(why),
        };
        let (full, news, welcome) = (word.full, word.news, word.welcome);
        let word = ReplicaWord { full, facts, news, welcome, lasting };
        if shared.events.send(ReplicaEvent::Word { replica, word, at }).await.is_err() {
            return End::Broken("the agent ends".to_owned());
        }
        // Acknowledged when it is taken in, so that whoever is slow is told less. Lost if the connection takes no more: a
        // later one counts for it.
        let _ = out.try_send(say(seq));
    }
}

/// Whether a word can be one of a replica, and is the next one.
fn check(shared: &Shared, word: &Word, seq: u64, life: Option<&Life>) -> Result<(), String> {
    if word.cluster != shared.own.as_str() {
        return Err(format!("it is of cluster {:?}, not of {}", word.cluster, shared.own));
    }
    if word.seq != seq {
        return Err(format!("word {} came where {seq} was due", word.seq));
    }
    if seq == 1 && !word.full {
        return Err("its first word is not all that it says".to_owned());
    }
    if life.is_some_and(|life| life.boot.0 != word.boot_id) {
        return Err("it changed its boot id within a stream".to_owned());
    }
    if word.facts.iter().any(|fact| fact.name.is_empty() || fact.name.len() > MAX_NAME) {
        return Err(format!("the name of a fact has 1 to {MAX_NAME} bytes"));
    }
    Ok(())
}
