//! What is asked for on the command line.

use anyhow::{Context as _, Result, bail};
use std::{collections::HashMap, path::PathBuf, str::FromStr, time::Duration};
use tidegate_lab::contest::{
    Layout,
    contestant::{Contestant, Programs},
    course::Schedule,
    fault::ZoneFault,
};

/// What is asked for.
pub(crate) struct Options {
    pub(crate) programs: Programs,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) layouts: Vec<Layout>,
    pub(crate) faults: Vec<ZoneFault>,
    pub(crate) schedule: Schedule,
    pub(crate) json: Option<PathBuf>,
    pub(crate) page: Option<PathBuf>,
    /// Where what a contestant says of itself after a run is kept.
    pub(crate) keep: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut found: HashMap<String, String> = HashMap::new();
        let mut arguments = arguments.filter(|it| it != "--bench");
        while let Some(name) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
            found.insert(name, value);
        }
        let mut take = |name: &str| found.remove(name);
        let path = |text: Option<String>| text.map(PathBuf::from);
        let needed = "`cargo xtask bench failover` gives it";
        let programs = Programs {
            tidegate: path(take("--tidegate"))
                .with_context(|| format!("--tidegate PATH is needed: {needed}"))?,
            envoy: path(take("--envoy")).with_context(|| format!("--envoy PATH is needed: {needed}"))?,
            traefik: path(take("--traefik")),
        };
        let default = Schedule::default();
        let mut seconds = |name: &str, default: Duration| -> Result<Duration> {
            Ok(Duration::from_secs(number(name, take(name), default.as_secs())?))
        };
        let mut schedule = Schedule {
            before: seconds("--before", default.before)?.max(Duration::from_secs(1)),
            fault: seconds("--fault", default.fault)?.max(Duration::from_secs(1)),
            after: seconds("--after", default.after)?,
            patience: seconds("--patience", default.patience)?,
            ..default
        };
        schedule.rate_rps = number("--rate", take("--rate"), schedule.rate_rps)?;
        let options = Self {
            programs,
            schedule,
            contestants: listed("--only", take("--only"), &Contestant::ALL, Contestant::named, |it| {
                it.name()
            })?,
            layouts: listed("--layouts", take("--layouts"), &Layout::ALL, Layout::named, |it| it.name())?,
            faults: listed("--faults", take("--faults"), &ZoneFault::ALL, ZoneFault::named, |it| it.name())?,
            json: path(take("--json")),
            page: path(take("--page")),
            keep: path(take("--keep")),
        };
        match found.keys().next() {
            Some(unknown) => bail!("{unknown} is not known"),
            None => Ok(options),
        }
    }
}

fn number<T: FromStr>(name: &str, text: Option<String>, default: T) -> Result<T> {
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().with_context(|| format!("{name} {text} is no whole number"))
}

/// Some of `all` by their names, with commas between them; all of them if none is named.
fn listed<T: Copy>(
    option: &str,
    text: Option<String>,
    all: &[T],
    named: impl Fn(&str) -> Option<T>,
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>> {
    let Some(text) = text else { return Ok(all.to_vec()) };
    let known = || all.iter().map(&name).collect::<Vec<_>>().join(", ");
    text.split(',')
        .map(|it| named(it).with_context(|| format!("{option} {it} is not known; there are {}", known())))
        .collect()
}
