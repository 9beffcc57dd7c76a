//! The engine's sentences as somebody reads them who sees the page for the first time. The sentences themselves are the terminal's, where
//! every word has its place: `TARGET (REGION) gets SHARE: PHASE, N of M healthy, admit CAP; BECAUSE [ORIGIN]`.

/// A sentence in its parts; `None` if it is none of the engine's.
struct Parts<'a> {
    target: &'a str,
    region: &'a str,
    share: &'a str,
    phase: &'a str,
    healthy: &'a str,
    cap: &'a str,
    because: &'a str,
}

/// The sentence without the place where it is written that it is so, and that place; the default has none.
fn with_origin(sentence: &str) -> (&str, Option<&str>) {
    let found = sentence.strip_suffix(']').and_then(|it| it.rsplit_once(" ["));
    found.map_or((sentence, None), |(text, origin)| (text, Some(origin).filter(|it| *it != "default")))
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let (head, because) = text.split_once("; ")?;
    let (target, rest) = head.split_once(" (")?;
    let (region, rest) = rest.split_once(") gets ")?;
    let (share, rest) = rest.split_once(": ")?;
    let (phase, rest) = rest.split_once(", ")?;
    let (healthy, cap) = rest.split_once(" healthy, admit ")?;
    Some(Parts { target, region, share, phase, healthy, cap, because })
}

/// What is the matter with the place, and nothing else: for a line among many.
pub(crate) fn short(sentence: &str) -> String {
    let (text, _) = with_origin(sentence);
    parts(text).map_or_else(
        || text.to_owned(),
        |Parts { target, because, healthy, .. }| format!("{target}: {because} ({healthy} healthy)"),
    )
}

/// All of it, and which object says so; nothing where it is a default.
pub(crate) fn long(sentence: &str) -> (String, Option<&str>) {
    let (text, origin) = with_origin(sentence);
    let Some(Parts { target, region, share, phase, healthy, cap, because }) = parts(text) else {
        return (text.to_owned(), origin);
    };
    let cap = match cap {
        "100 %" => String::new(),
        "0 %" => ", may get nothing".to_owned(),
        cap => format!(", may get {cap} of its normal load"),
    };
    let phase = phase.to_lowercase();
    (format!("{target} in {region} gets {share}: {because} ({phase}, {healthy} healthy{cap})"), origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: &str =
        "zone a (us-east) gets 0 %: Out, 0 of 2 healthy, admit 0 %; nothing there is healthy [default]";

    #[test]
    fn what_is_told_in_a_line_is_what_is_the_matter() {
        assert_eq!(short(LOST), "zone a: nothing there is healthy (0 of 2 healthy)");
        assert_eq!(short("us-east-1: zone a: Out"), "us-east-1: zone a: Out");
        assert_eq!(short("whatever [default]"), "whatever");
    }

    #[test]
    fn what_is_told_in_full_says_who_wrote_it() {
        let (text, origin) = long(LOST);
        assert_eq!(
            text,
            "zone a in us-east gets 0 %: nothing there is healthy (out, 0 of 2 healthy, may get nothing)"
        );
        assert_eq!(origin, None);
        let (text, origin) = long(
            "cluster b (us) gets 25 %: Reduced, 2 of 4 healthy, admit 50 %; first in the order, load 1 of 2; because [of] it \
             [FailoverPolicy shop/web at web.yaml:8]",
        );
        assert_eq!(
            text,
            "cluster b in us gets 25 %: first in the order, load 1 of 2; because [of] it (reduced, 2 of 4 healthy, may get \
             50 % of its normal load)"
        );
        assert_eq!(origin, Some("FailoverPolicy shop/web at web.yaml:8"));
        assert_eq!(long("<b>").0, "<b>");
    }
}
