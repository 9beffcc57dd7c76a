//! SPDX licence expressions, as far as crates use them.

use std::collections::BTreeSet;

/// Whether a licence expression can be met with the licences in `allowed`.
///
/// `OR` needs one side, `AND` both; `WITH` binds an exception to a licence, and the pair must be
/// allowed as such, or the licence without it. The old `/` reads as `OR`, and operators may be
/// all in small letters, as SPDX 3 has it.
pub(crate) fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let spaced = [(" or ", " OR "), (" and ", " AND "), (" with ", " WITH ")]
        .iter()
        .fold(spaced, |text, (small, operator)| text.replace(small, operator));
    let mut words = spaced.split_whitespace().peekable();
    let result = any(&mut words, allowed)?;
    match words.next() {
        None => Ok(result),
        Some(word) => Err(format!("`{word}` is out of place in `{expression}`")),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let mut result = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        result |= all(words, allowed)?;
    }
    Ok(result)
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let mut result = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, allowed)?;
    }
    Ok(result)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Result<bool, String> {
    match words.next() {
        None => Err("the expression ends too early".to_owned()),
        Some("(") => {
            let result = any(words, allowed)?;
            words.next_if_eq(&")").ok_or("a parenthesis is not closed")?;
            Ok(result)
        }
        Some(word @ (")" | "OR" | "AND" | "WITH")) => Err(format!("`{word}` is out of place")),
        Some(licence) => {
            if words.next_if_eq(&"WITH").is_none() {
                return Ok(allowed.contains(licence));
            }
            let exception = words.next().ok_or("an exception is missing after WITH")?;
            // An exception only ever grants more.
            Ok(allowed.contains(licence) || allowed.contains(&format!("{licence} WITH {exception}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_as_spdx_means_them() {
        let allowed = ["MIT", "BSD-3-Clause", "GPL-2.0 WITH Classpath-exception-2.0"];
        let allowed: BTreeSet<String> = allowed.into_iter().map(str::to_owned).collect();
        for (expression, expected) in [
            ("MIT", Ok(true)),
            ("GPL-3.0", Ok(false)),
            ("MIT OR GPL-3.0", Ok(true)),
            ("MIT or GPL-3.0", Ok(true)),
            ("MIT and GPL-3.0", Ok(false)),
            ("GPL-3.0/MIT", Ok(true)),
            ("GPL-3.0 / MIT", Ok(true)),
            ("MIT AND GPL-3.0", Ok(false)),
            ("MIT AND BSD-3-Clause", Ok(true)),
            ("(MIT OR GPL-3.0) AND BSD-3-Clause", Ok(true)),
            ("MIT OR GPL-3.0 AND Foo", Ok(true)),
            ("(MIT OR GPL-3.0) AND Foo", Ok(false)),
            ("MIT WITH Some-exception", Ok(true)),
            ("GPL-2.0 WITH Classpath-exception-2.0", Ok(true)),
            ("GPL-2.0 WITH Other", Ok(false)),
        ] {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT BSD-3-Clause", "WITH X", "MIT WITH"] {
            assert!(is_allowed(broken, &allowed).is_err(), "{broken:?} should not parse");
        }
    }
}
