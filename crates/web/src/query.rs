//! What a path's query asks for. Pure: raw text in, values with limits out; what cannot be understood is said, and never guessed.

use crate::{Loss, ShiftAsked, Trouble};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

/// Fields of a query or of a form, in any order. A field that comes twice is kept twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

/// So many fields are read, and of each so many bytes: a form here has fewer, and what is more is no form of ours.
const FIELDS: usize = 512;
const LENGTH: usize = 1000;

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let whole = form_urlencoded::parse(text.as_bytes());
        let short = whole.filter(|(_, value)| !value.is_empty() && value.len() <= LENGTH);
        Self(short.take(FIELDS).map(|(name, value)| (name.into_owned(), value.trim().to_owned())).collect())
    }

    /// The first value; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name).parse().ok()
    }

    /// The page asked for, from 1.
    pub(crate) fn page(&self) -> usize {
        self.number("page").filter(|page| (1..=100_000).contains(page)).unwrap_or(1)
    }

    /// The same question with some fields replaced: a link's `?...`. An empty value leaves the field out.
    pub(crate) fn with(&self, changes: &[(&str, &str)]) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        let dropped = |name: &str| {
            matches!(name, "part" | "done" | "seal") || changes.iter().any(|(it, _)| *it == name)
        };
        for (name, value) in self.0.iter().filter(|(name, _)| !dropped(name)) {
            out.append_pair(name, value);
        }
        for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
            out.append_pair(name, value);
        }
        let text = out.finish();
        if text.is_empty() { "?".to_owned() } else { format!("?{text}") }
    }

    /// What is shown depends on these only, in one order: the key of a rendered part.
    pub(crate) fn key(&self) -> String {
        let mut sorted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !matches!(&**name, "part" | "done" | "seal")) {
            sorted.entry(name).or_default().push(value);
        }
        format!("{sorted:?}")
    }

    pub(crate) fn losses(&self, name: &str) -> Result<Vec<Loss>, Trouble> {
        self.all(name).map(loss).collect()
    }

    /// The shift that a form asks for.
    pub(crate) fn shift(&self) -> Result<ShiftAsked, Trouble> {
        let refused = |text: &str| Trouble::Refused(text.to_owned());
        if !self.is_set("from") {
            return Err(refused(
                "Choose what traffic is to be moved away from: a zone, a cluster or a region.",
            ));
        }
        let percent = if self.is_set("percent") { self.number("percent").unwrap_or(0) } else { 100 };
        if !(1..=100).contains(&percent) {
            return Err(refused("How much is moved away is a number from 1 to 100."));
        }
        let comment = self.text("comment");
        if comment.is_empty() || comment.chars().count() > 500 {
            return Err(refused(
                "Say why in the comment, in at most 500 letters: whoever looks at the shift later needs it.",
            ));
        }
        let service = Some(self.text("service")).filter(|text| !text.is_empty()).map(service).transpose()?;
        Ok(ShiftAsked {
            from: loss(self.text("from"))?,
            service,
            percent,
            lasts: self.lasting()?,
            comment: comment.to_owned(),
            force: self.text("force") == "yes",
        })
    }

    /// How long a shift is to last.
    pub(crate) fn lasting(&self) -> Result<Duration, Trouble> {
        let text = self.text("for");
        lasting(text).ok_or_else(|| {
            Trouble::Refused(format!(
                "{text:?} is no duration for a shift: write 30m, 2h or 1d, of at most 30 days."
            ))
        })
    }
}

fn lasting(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let seconds = number.checked_mul(seconds)?;
    (1..=30 * 86_400).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// `NAMESPACE/NAME`.
pub(crate) fn service(text: &str) -> Result<ServiceName, Trouble> {
    let refused = || Trouble::Refused(format!("{text:?} is no service: write NAMESPACE/NAME."));
    let (namespace, name) = text.split_once('/').ok_or_else(refused)?;
    ServiceName::new(namespace, name).map_err(|_| refused())
}

/// `zone:REGION/ZONE`, `zone:ZONE`, `cluster:NAME` or `region:NAME`.
pub(crate) fn loss(text: &str) -> Result<Loss, Trouble> {
    let refused = || {
        Trouble::Refused(format!(
            "{text:?} is no place: write zone:REGION/ZONE, zone:ZONE, cluster:NAME or region:NAME."
        ))
    };
    let parsed = match text.split_once(':').ok_or_else(refused)? {
        ("zone", zone) => match zone.split_once('/') {
            Some((region, zone)) => {
                Region::new(region).and_then(|region| Ok(Loss::Zone(Some(region), Zone::new(zone)?)))
            }
            None => Zone::new(zone).map(|zone| Loss::Zone(None, zone)),
        },
        ("cluster", name) => ClusterName::new(name).map(Loss::Cluster),
        ("region", name) => Region::new(name).map(Loss::Region),
        _ => return Err(refused()),
    };
    parsed.map_err(|_| refused())
}

/// A piece of a list: the page asked for, where it begins, and how many pages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) page: usize,
    pub(crate) pages: usize,
    pub(crate) total: usize,
    pub(crate) from: usize,
    pub(crate) size: usize,
}

impl Paging {
    /// The last page if the one asked for is beyond it.
    pub(crate) fn new(asked: usize, total: usize, size: usize) -> Self {
        let pages = total.div_ceil(size).max(1);
        let page = asked.clamp(1, pages);
        Self { page, pages, total, from: (page - 1) * size, size }
    }

    pub(crate) fn to(self) -> usize {
        (self.from + self.size).min(self.total)
    }

    /// What is shown, for people.
    pub(crate) fn said(self) -> String {
        if self.total == 0 {
            "none".to_owned()
        } else {
            format!("{}–{} of {}", self.from + 1, self.to(), self.total)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_and_what_is_none_is_said() {
        let region = Region::new("us-east-1").unwrap();
        let zone = Zone::new("us-east-1a").unwrap();
        assert_eq!(loss("zone:us-east-1/us-east-1a"), Ok(Loss::Zone(Some(region.clone()), zone.clone())));
        assert_eq!(loss("zone:us-east-1a"), Ok(Loss::Zone(None, zone)));
        assert_eq!(loss("region:us-east-1"), Ok(Loss::Region(region)));
        for wrong in ["", "us-east-1", "planet:earth", "zone:", "zone:a/b/c", "cluster:<b>"] {
            assert!(
                matches!(loss(wrong), Err(Trouble::Refused(text)) if text.contains("write zone:")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_shift_needs_a_place_a_comment_and_a_time() {
        let asked = |text: &str| Query::parse(text).shift();
        let whole = asked("from=zone:a&comment=why&for=30m&percent=50").unwrap();
        assert_eq!((whole.percent, whole.lasts, whole.force), (50, Duration::from_secs(1800), false));
        for (wrong, said) in [
            ("comment=why&for=30m", "Choose what"),
            ("from=zone:a&for=30m", "Say why"),
            ("from=zone:a&comment=why&for=31d", "30 days"),
            ("from=zone:a&comment=why&for=1m&percent=0", "1 to 100"),
            ("from=zone:a&comment=why&for=1m&percent=much", "1 to 100"),
            ("from=zone:a&comment=why&for=1m&service=web", "NAMESPACE/NAME"),
        ] {
            assert!(matches!(asked(wrong), Err(Trouble::Refused(text)) if text.contains(said)), "{wrong}");
        }
    }

    #[test]
    fn a_link_keeps_the_question_and_replaces_what_it_changes() {
        let query = Query::parse("q=a%26b&page=3&part=main");
        assert_eq!(query.with(&[("page", "4")]), "?q=a%26b&page=4");
        assert_eq!(query.with(&[("q", ""), ("page", "")]), "?");
    }

    #[test]
    fn pages_beyond_the_end_are_the_last_one() {
        let page = Paging::new(99, 250, 100);
        assert_eq!((page.page, page.from, page.to(), page.said().as_str()), (3, 200, 250, "201–250 of 250"));
        assert_eq!(Paging::new(1, 0, 100).said(), "none");
    }
}
