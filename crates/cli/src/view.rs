//! What is shown of an agent or a hub: who is asked, in which form it is printed, and how it is watched.

use crate::{
    admin::{AgentDoor, HubDoor, Output},
    screen::Screen,
    stop,
};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Whoever watches looks so often.
const EVERY: Duration = Duration::from_secs(1);

/// Who is asked: an agent, or the hub for the whole fleet.
#[derive(Clone, Debug, Args)]
pub(crate) struct Whom {
    #[command(flatten)]
    agent: AgentDoor,
    /// Ask the hub at this admin address instead, for the whole fleet; elsewhere its --admin-tls.
    #[arg(long, value_name = "ADDR")]
    hub: Option<SocketAddr>,
}

impl Whom {
    /// The agent that is asked.
    pub(crate) const fn agent(&self) -> &AgentDoor {
        &self.agent
    }

    /// Whoever is asked: what hub and agent have in common.
    pub(crate) fn door(&self) -> AgentDoor {
        let AgentDoor { admin, token } = self.agent.clone();
        AgentDoor { admin: self.hub.unwrap_or(admin), token }
    }

    /// The hub, if it is asked.
    pub(crate) fn hub(&self) -> Option<HubDoor> {
        self.hub.map(|hub| HubDoor::at(hub, self.agent.token.clone()))
    }
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Form {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Look again every second until Ctrl-C. What is no terminal gets the lines that are new; JSON, a document a line.
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) whom: Whom,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// One look, for programs and for people.
#[derive(Debug)]
pub(crate) struct Shown {
    document: serde_json::Value,
    text: String,
}

impl Shown {
    pub(crate) fn new(document: &impl Serialize, text: String) -> Result<Self> {
        Ok(Self { document: serde_json::to_value(document)?, text })
    }

    /// The same with something to be read first.
    pub(crate) fn below(self, head: &str) -> Self {
        Self { text: format!("{head}{}", self.text), ..self }
    }

    fn in_form(&self, output: Output) -> Result<String> {
        Ok(output.document(&self.document)?.unwrap_or_else(|| self.text.clone()))
    }
}

/// Shows what `look` finds: once, or again and again until somebody stops it. `look` is told how wide it may be.
pub(crate) async fn show(form: Form, mut look: impl AsyncFnMut(Screen) -> Result<Shown>) -> Result<()> {
    let screen = Screen::stdout();
    let first = look(screen).await?;
    if !form.watch {
        let text = first.in_form(form.output)?;
        let screen = Screen { colour: form.output == Output::Table && screen.colour, ..screen };
        say!("{}", screen.painted(text.trim_end()));
        return Ok(());
    }
    let stop = stop::token(false);
    let mut drawn = Drawn::default();
    drawn.draw(&first, form.output)?;
    let (mut last, mut answered) = (first, Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
        let seen = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            seen = look(Screen::stdout()) => seen,
        };
        match seen {
            Ok(seen) => {
                (last, answered) = (seen, Instant::now());
                drawn.draw(&last, form.output)?;
            }
            Err(error) => drawn.missing(&last, form.output, &crate::told(&error), answered.elapsed())?,
        }
    }
}

/// What was written last.
#[derive(Debug, Default)]
struct Drawn {
    text: String,
    trouble: String,
}

impl Drawn {
    fn draw(&mut self, shown: &Shown, output: Output) -> Result<()> {
        let screen = Screen::stdout();
        let text = match output {
            // A document a line can be read as it comes.
            Output::Json => serde_json::to_string(&shown.document)?,
            Output::Yaml => format!("---\n{}", shown.in_form(output)?.trim_end()),
            Output::Table => shown.text.trim_end().to_owned(),
        };
        if !self.trouble.is_empty() {
            self.trouble.clear();
            if !(output == Output::Table && screen.is_terminal) {
                eprintln!("it answers again");
            }
        } else if text == self.text {
            return Ok(());
        }
        match output {
            Output::Table if screen.is_terminal => paint(&text, screen)?,
            Output::Table => {
                let known: BTreeSet<&str> = self.text.lines().collect();
                for line in text.lines().filter(|line| !known.contains(line)) {
                    say!("{line}");
                }
            }
            _ => say!("{text}"),
        }
        self.text = text;
        Ok(())
    }

    /// Nobody answers: what is shown is old, and says so.
    fn missing(&mut self, last: &Shown, output: Output, trouble: &str, age: Duration) -> Result<()> {
        let screen = Screen::stdout();
        if output == Output::Table && screen.is_terminal {
            let text = last.text.trim_end();
            paint(
                &format!("NO ANSWER; what is below is {} s old: {trouble}\n\n{text}", age.as_secs()),
                screen,
            )?;
        } else if self.trouble != trouble {
            eprintln!("error: {trouble}");
        }
        trouble.clone_into(&mut self.trouble);
        Ok(())
    }
}

/// Over what stands there, and no more than there is room for.
fn paint(text: &str, screen: Screen) -> io::Result<()> {
    let (columns, lines) = screen.size.unwrap_or((usize::MAX, usize::MAX));
    let room = lines.saturating_sub(1);
    let count = text.lines().count();
    let mut frame = "\x1b[H".to_owned();
    let taken = if count > room { room.saturating_sub(1) } else { count };
    for line in text.lines().take(taken) {
        // A line that goes on in the next would push the others out.
        let line: String = line.chars().take(columns).collect();
        frame.push_str(&screen.painted(&line));
        frame.push_str("\x1b[K\n");
    }
    if count > taken {
        frame.push_str(&format!(
            "({} lines more: a taller terminal shows them, or a filter leaves some out)\x1b[K\n",
            count - taken
        ));
    }
    frame.push_str("\x1b[J");
    let mut out = io::stdout().lock();
    out.write_all(frame.as_bytes())?;
    out.flush()
}
