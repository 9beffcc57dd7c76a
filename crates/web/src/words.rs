//! How facts are said to people: signs, numbers, ages. Values are taken borrowed or not, as templates have them. Everything that comes from elsewhere is escaped here or by the templates.

use crate::model::{Attention, ClusterState, Severity, Standing};
use askama::filters::HtmlSafe;
use std::{borrow::Borrow, fmt};
use tidegate_model::Phase;

/// Text that is HTML already: made by this crate, with everything foreign in it escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Html(pub(crate) String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// As it may stand in text and in quoted attributes of HTML and SVG.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// How something stands, told by a class (colour), a sign (shape) and a word: never by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of the stylesheet: `good`, `back`, `moved`, `part`, `out`, `old` or `none`.
    pub(crate) class: &'static str,
    /// One letter of what every system's fonts have.
    pub(crate) sign: &'static str,
    /// In one or two words.
    pub(crate) word: &'static str,
}

impl Mark {
    const fn new(class: &'static str, sign: &'static str, word: &'static str) -> Self {
        Self { class, sign, word }
    }

    /// Sign and word.
    pub(crate) fn html(self) -> Html {
        let Self { class, sign, word } = self;
        Html(format!(
            "<span class=\"mark {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span> {word}</span>"
        ))
    }

    /// The sign, with the word for those who do not see it.
    pub(crate) fn small(self) -> Html {
        let Self { class, sign, word } = self;
        Html(format!(
            "<span class=\"mark {class}\" title=\"{word}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
             <span class=\"unseen\">{word}</span></span>"
        ))
    }
}

pub(crate) fn standing(of: impl Borrow<Standing>) -> Mark {
    match of.borrow() {
        Standing::Good => Mark::new("good", "✓", "good"),
        Standing::Recovering => Mark::new("back", "↻", "recovering"),
        Standing::Shifted => Mark::new("moved", "⇄", "shifted"),
        Standing::Reduced => Mark::new("part", "◐", "reduced"),
        Standing::Out => Mark::new("out", "✕", "out"),
        Standing::Unknown => Mark::new("old", "?", "unknown"),
    }
}

pub(crate) fn phase(of: impl Borrow<Phase>) -> Mark {
    match of.borrow() {
        Phase::Serving => Mark::new("good", "✓", "serving"),
        Phase::Reduced => Mark::new("part", "◐", "reduced"),
        Phase::Out => Mark::new("out", "✕", "out"),
        Phase::Holding => Mark::new("back", "◷", "holding"),
        Phase::Ramping => Mark::new("back", "↗", "ramping"),
        Phase::Shifted => Mark::new("moved", "⇄", "shifted"),
        Phase::Empty => Mark::new("none", "○", "empty"),
    }
}

pub(crate) fn state(of: impl Borrow<ClusterState>) -> Mark {
    match of.borrow() {
        ClusterState::Live => Mark::new("good", "✓", "heard"),
        ClusterState::Suspect => Mark::new("part", "◐", "suspect"),
        ClusterState::Lost => Mark::new("old", "?", "not heard"),
        ClusterState::Unheard => Mark::new("old", "?", "never heard"),
        ClusterState::Revoked => Mark::new("none", "○", "revoked"),
    }
}

pub(crate) fn severity(of: impl Borrow<Severity>) -> Mark {
    match of.borrow() {
        Severity::Critical => Mark::new("out", "✕", "critical"),
        Severity::Warning => Mark::new("part", "!", "warning"),
        Severity::Notice => Mark::new("moved", "i", "notice"),
    }
}

/// Of a drill that somebody or something ended before its time.
pub(crate) const STOPPED: Mark = Mark::new("part", "◐", "stopped");

/// Of an object of the policy in a cluster.
pub(crate) fn applied(state: &str) -> Mark {
    match state {
        "Applied" => Mark::new("good", "✓", "applied"),
        "Rejected" => Mark::new("out", "✕", "rejected"),
        "Pending" => Mark::new("back", "↻", "pending"),
        _ => Mark::new("old", "?", "unknown"),
    }
}

/// Of how one cluster sees another one.
pub(crate) fn peer(state: &str) -> Mark {
    match state {
        "Reachable" => Mark::new("good", "✓", "reachable"),
        "Suspect" => Mark::new("part", "◐", "suspect"),
        "AgentDown" => Mark::new("part", "◐", "agent down"),
        "Unreachable" => Mark::new("out", "✕", "unreachable"),
        _ => Mark::new("old", "?", "never heard"),
    }
}

/// What an event that is about no service is about.
pub(crate) fn happened(kind: &str) -> &str {
    match kind {
        "pushAcked" | "refused" => "gateway",
        "manifestsChanged" => "manifests",
        "locationChanged" => "place",
        "peerChanged" => "cluster",
        "replicaChanged" => "replica",
        "shiftChanged" => "shift",
        "drillChanged" => "drill",
        other => other,
    }
}

/// The steps of a drill as they follow each other, with what happens in each.
pub(crate) const STEPS: [(&str, &str); 5] = [
    ("Checking", "Whether it may start: the target answers, and no guard speaks against it."),
    ("Steady", "Nothing is broken yet: what is normal is measured."),
    ("Fault", "The fault is on."),
    ("Mending", "What was broken is mended."),
    ("Watching", "It is mended: how everything comes back is measured."),
];

/// What happens in a step of a drill.
pub(crate) fn step(phase: &str) -> &'static str {
    STEPS.iter().find(|(name, _)| *name == phase).map_or("", |(_, what)| what)
}

/// Whether something holds: a row of the N-1 table, a drill.
pub(crate) fn verdict(holds: impl Borrow<bool>, yes: &'static str, no: &'static str) -> Mark {
    if *holds.borrow() { Mark::new("good", "✓", yes) } else { Mark::new("out", "✕", no) }
}

/// Requests or connections a second, with as many digits as mean something.
pub(crate) fn rate(rate: impl Borrow<f64>) -> String {
    // The sum of nothing is -0.0.
    let rate = *rate.borrow() + 0.0;
    if rate >= 10_000.0 {
        format!("{:.1}k/s", rate / 1000.0)
    } else if rate >= 1000.0 {
        format!("{:.2}k/s", rate / 1000.0)
    } else if rate >= 10.0 || rate == 0.0 {
        format!("{rate:.0}/s")
    } else {
        format!("{rate:.1}/s")
    }
}

/// An amount that has its unit elsewhere.
pub(crate) fn amount(of: f64) -> String {
    let rate = rate(of);
    rate.strip_suffix("/s").unwrap_or(&rate).to_owned()
}

/// Thousandths as a percentage.
pub(crate) fn permille(of: impl Borrow<u32>) -> String {
    let of = *of.borrow();
    match (of / 10, of % 10) {
        (whole, 0) => format!("{whole} %"),
        (whole, tenth) => format!("{whole}.{tenth} %"),
    }
}

/// Ten-thousandths, in which shares are told.
pub(crate) fn share(of: u32) -> String {
    let percent = f64::from(of) / 100.0;
    if of.is_multiple_of(100) { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// A duration, in its two largest units.
pub(crate) fn lasting(ms: impl Borrow<u64>) -> String {
    let seconds = ms.borrow() / 1000;
    let two = |one: u64, unit: &str, rest: u64, of: &str| {
        if rest == 0 { format!("{one} {unit}") } else { format!("{one} {unit} {rest} {of}") }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", if seconds < 600 { seconds % 60 } else { 0 }, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Date and time of the world, as RFC 3339 has it: `2026-03-01T04:05:06Z`.
pub(crate) fn instant(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Days since 1970 to a date of the Gregorian calendar, by eras of 400 years that begin in March (H. Hinnant).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A point in time as it reads in a table, and a machine's form of it: the page's script turns nothing of it around.
pub(crate) fn at(ms: impl Borrow<u64>) -> Html {
    let whole = instant(*ms.borrow());
    let (date, time) = (&whole[..10], &whole[11..19]);
    Html(format!("<time datetime=\"{whole}\">{date} {time}</time>"))
}

/// How long ago something was; the page's script counts on.
pub(crate) fn ago(ms: impl Borrow<u64>, now_ms: impl Borrow<u64>) -> Html {
    let (ms, now_ms) = (*ms.borrow(), *now_ms.borrow());
    let text = lasting(now_ms.saturating_sub(ms));
    Html(format!("<time data-ago=\"{ms}\" datetime=\"{}\">{text} ago</time>", instant(ms)))
}

/// How long it is until then; the page's script counts on.
pub(crate) fn left(ms: impl Borrow<u64>, now_ms: impl Borrow<u64>) -> Html {
    let (ms, now_ms) = (*ms.borrow(), *now_ms.borrow());
    let text = match ms.checked_sub(now_ms) {
        Some(left) => format!("in {}", lasting(left)),
        None => "any moment".to_owned(),
    };
    Html(format!("<time data-left=\"{ms}\" datetime=\"{}\">{text}</time>", instant(ms)))
}

/// How many there are, and what of: `1 cluster`, `3 clusters`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What a screen reader says when the list of what to look at changes.
pub(crate) fn summary(attention: &[Attention]) -> String {
    let of = |severity| attention.iter().filter(|it| it.severity == severity).count();
    match attention.first() {
        None => "Nothing needs attention.".to_owned(),
        Some(first) => format!(
            "{} critical, {}. First: {}",
            of(Severity::Critical),
            count(of(Severity::Warning), "warning"),
            first.text
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(instant(ms), said);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, said) in [
            (999, "0 s"),
            (61_000, "1 min 1 s"),
            (1_900_000, "31 min"),
            (7_260_000, "2 h 1 min"),
            (180_000_000, "2 d 2 h"),
        ] {
            assert_eq!(lasting(ms), said);
        }
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        assert_eq!(
            [rate(0.0), rate(3.12), rate(312.4), rate(1234.0), rate(45_678.0)],
            ["0/s", "3.1/s", "312/s", "1.23k/s", "45.7k/s"]
        );
        assert_eq!(
            [permille(1000), permille(335), share(3333), share(2500)],
            ["100 %", "33.5 %", "33.3 %", "25 %"]
        );
    }

    #[test]
    fn what_comes_from_elsewhere_is_no_markup() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
