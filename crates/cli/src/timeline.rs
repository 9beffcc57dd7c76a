//! `tidegate timeline`: what was decided, and when.

use crate::{
    admin::{AgentDoor, Output},
    get, hub, stop,
    view::Options,
};
use anyhow::Result;
use clap::Parser;
use serde::{Deserialize, Serialize};
use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};
use tidegate_api::time_text;

/// An agent gives so many at a time.
const PAGE: usize = 1000;
/// An agent keeps ten pages; more would be of one that writes faster than it is read.
const MAX_PAGES: usize = 20;
/// Whoever watches looks so often.
const EVERY: Duration = Duration::from_millis(500);
/// What gateways accepted: several of it for each decision.
const ACKED: &str = "pushAcked";

#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Only what is about this service.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service: Option<String>,
    /// Only what is of this kind, as planChanged; may be given several times. Without it all but pushAcked.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only what is no older than this, as 10m.
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// The last so many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    options: Options,
}

/// What is read of a record; the rest is kept for who wants JSON.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Read {
    seq: u64,
    unix_micros: u64,
    kind: String,
    service: Option<String>,
    zone: Option<String>,
    endpoint: Option<String>,
    peer: Option<String>,
    state: Option<String>,
    reason: String,
}

/// A record, with what it is written as.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
struct Entry {
    document: serde_json::Value,
    #[serde(skip)]
    read: Read,
    #[serde(skip)]
    line: String,
}

impl Entry {
    fn of_agent(document: serde_json::Value) -> Result<Self> {
        let read = Read::deserialize(&document)?;
        let peer = read.peer.as_ref().map(|it| format!("peer {it}"));
        let parts =
            [read.service.clone(), read.zone.clone(), read.endpoint.clone(), peer, read.state.clone()];
        // A plan's reason names service and source itself.
        let subject = match read.kind.as_str() {
            "planChanged" => String::new(),
            _ => parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
        };
        let between = if subject.is_empty() { "" } else { ": " };
        let line = format!("{}  {}  {subject}{between}{}", time(read.unix_micros), read.kind, read.reason);
        Ok(Self { document, read, line })
    }
}

/// Date and time of day, UTC, with milliseconds.
fn time(unix_micros: u64) -> String {
    let text = time_text(unix_micros / 1_000_000);
    format!("{}.{:03}Z", text.trim_end_matches('Z'), unix_micros / 1000 % 1000)
}

impl Args {
    fn takes(&self, it: &Read, oldest: u64) -> bool {
        let kind = match self.kind.as_slice() {
            [] => it.kind != ACKED,
            kinds => kinds.contains(&it.kind),
        };
        kind && it.unix_micros >= oldest
            && self.service.as_ref().is_none_or(|service| it.service.as_ref() == Some(service))
    }
}

fn unix_micros() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let oldest = match &args.since {
        None => 0,
        Some(since) => {
            let ago = u64::try_from(hub::duration("--since", since)?.as_micros()).unwrap_or(u64::MAX);
            unix_micros().saturating_sub(ago)
        }
    };
    let mut follows = Follows::default();
    let mut found = follows.news(args).await?;
    found.retain(|it| args.takes(&it.read, oldest));
    found.drain(..found.len().saturating_sub(args.limit));
    let Options { form, .. } = &args.options;
    if !form.watch {
        match form.output.document(&found)? {
            Some(text) => say!("{}", text.trim_end()),
            None if found.is_empty() => say!("nothing, of what is remembered"),
            None => found.iter().for_each(|it| say!("{}", it.line)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stop = stop::token(false);
    let mut trouble = String::new();
    loop {
        for it in &found {
            match form.output {
                Output::Table => say!("{}", it.line),
                Output::Json => say!("{}", it.document),
                Output::Yaml => say!("---\n{}", serde_saphyr::to_string(&it.document)?.trim_end()),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(EVERY) => {}
        }
        found = match follows.news(args).await {
            Ok(found) => found,
            Err(error) => {
                let text = crate::told(&error);
                if text != trouble {
                    eprintln!("error: {text}");
                }
                trouble = text;
                continue;
            }
        };
        if !std::mem::take(&mut trouble).is_empty() {
            eprintln!("it answers again");
        }
        found.retain(|it| args.takes(&it.read, oldest));
    }
}

/// What was read last.
#[derive(Debug, Default)]
struct Follows {
    /// Of an agent: which life, and its last record.
    agent: String,
    after: u64,
    /// Of a hub: what of each cluster was seen, by its time and number.
    seen: std::collections::BTreeSet<(String, u64, u64)>,
}

/// Who an agent is, and how far it is.
#[derive(Debug, Deserialize)]
struct Life {
    agent: String,
    last: u64,
}

impl Follows {
    async fn news(&mut self, args: &Args) -> Result<Vec<Entry>> {
        match args.options.whom.hub() {
            Some(hub) => self.of_fleet(get::all(&hub).await?),
            None => self.of_agent(args.options.whom.agent()).await,
        }
    }

    async fn of_agent(&mut self, door: &AgentDoor) -> Result<Vec<Entry>> {
        let life: Life = door.get("/api/v1/time").await?;
        if life.agent != self.agent || life.last < self.after {
            // It was started anew, and counts anew.
            (self.agent, self.after) = (life.agent, 0);
        }
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let path = format!("/api/v1/decisions?after={}", self.after);
            let page: Vec<serde_json::Value> = door.get(&path).await?;
            let is_last = page.len() < PAGE;
            for document in page {
                let entry = Entry::of_agent(document)?;
                self.after = entry.read.seq;
                found.push(entry);
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    fn of_fleet(&mut self, known: Vec<tidegate_hub::view::KnowledgeView>) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        // What no cluster tells of any more will not come again.
        let mut there = std::collections::BTreeSet::new();
        for it in known {
            let cluster = it.cluster.cluster.to_string();
            for decision in it.decisions {
                let key = (cluster.clone(), decision.unix_micros, decision.seq);
                if !self.seen.contains(&key) {
                    let mut document = serde_json::to_value(&decision)?;
                    document["cluster"] = cluster.clone().into();
                    let read = Read {
                        seq: decision.seq,
                        unix_micros: decision.unix_micros,
                        kind: decision.kind.clone(),
                        service: decision.service.clone(),
                        ..Read::default()
                    };
                    let line = format!("{}  {cluster}  {}", time(decision.unix_micros), decision.text);
                    found.push(Entry { document, read, line });
                }
                there.insert(key);
            }
        }
        self.seen = there;
        found.sort_by_key(|it| it.read.unix_micros);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_what_it_is_about() {
        let record = serde_json::json!({
            "seq": 3, "unixMicros": 1_800_000_000_123_456_u64, "kind": "poolChanged", "service": "shop/web",
            "zone": "a", "phase": "Out", "reason": "Serving to Out: 0 of 2 healthy"
        });
        let entry = Entry::of_agent(record).unwrap();
        assert_eq!(
            entry.line,
            "2027-01-15T08:00:00.123Z  poolChanged  shop/web a: Serving to Out: 0 of 2 healthy"
        );
    }
}
