//! Regular expressions that gateways get: Envoy refuses the routes of a whole listener for a wrong one, so it is found
//! here. Envoy reads RE2; what is taken is what RE2 and this parser, which descends from it, understand alike.

use crate::{fields::Wrong, read, yaml::Node};
use regex_syntax::ast::{
    self, Ast, ClassSet, ClassSetItem, FlagsItemKind, GroupKind, HexLiteralKind, LiteralKind, RepetitionKind,
    RepetitionRange, Visitor, parse::Parser,
};

/// Gateway API's limit for a value that is matched.
const MAX_LENGTH: usize = 4096;

/// RE2 unfolds counted repetitions, those inside each other too, and refuses more than a thousand.
const MAX_REPEATS: u32 = 1000;

/// The most instructions that an expression may become, by a rough count from above: gateways allow RE2 32768.
const MAX_SIZE: u32 = 20_000;

/// An expression that Envoy takes.
pub(crate) fn read(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    if text.len() > MAX_LENGTH {
        return Err(Wrong::new(format!("at most {MAX_LENGTH} characters"), "split the match"));
    }
    match check(&text) {
        Ok(()) => Ok(text),
        Err(why) => Err(Wrong::new("a regular expression (RE2)", why)),
    }
}

fn check(text: &str) -> Result<(), String> {
    let ast = Parser::new().parse(text).map_err(|error| {
        let at = error.span().start.column;
        format!("at its character {at}: {}", error.kind())
    })?;
    ast::visit(&ast, Checker { repeats: Vec::new(), size: 0 })
}

/// Refuses what RE2 does not know or takes for something else.
struct Checker {
    /// How often what is inside is repeated, by each repetition around it.
    repeats: Vec<u32>,
    /// Of the program, so far.
    size: u32,
}

impl Checker {
    /// One more part, that becomes so many instructions each time.
    fn add(&mut self, instructions: u32) -> Result<(), String> {
        let times = self.repeats.iter().fold(1_u32, |all, times| all.saturating_mul(*times));
        self.size = self.size.saturating_add(instructions.saturating_mul(times));
        if self.size <= MAX_SIZE { Ok(()) } else { Err("it is too large; say it shorter".to_owned()) }
    }
}

impl Visitor for Checker {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Repetition(it) => {
                let times = match it.op.kind {
                    RepetitionKind::Range(
                        RepetitionRange::Exactly(times)
                        | RepetitionRange::AtLeast(times)
                        | RepetitionRange::Bounded(_, times),
                    ) => times.max(1),
                    _ => 1,
                };
                self.repeats.push(times);
                let all = self.repeats.iter().try_fold(1_u32, |all, times| all.checked_mul(*times));
                match all {
                    Some(0..=MAX_REPEATS) => Ok(()),
                    _ => Err(format!("it repeats something more than {MAX_REPEATS} times")),
                }
            }
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => flags_are_known(flags),
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => Ok(()),
            },
            Ast::Flags(it) => flags_are_known(&it.flags),
            Ast::Assertion(it) => match it.kind {
                ast::AssertionKind::StartLine
                | ast::AssertionKind::EndLine
                | ast::AssertionKind::StartText
                | ast::AssertionKind::EndText
                | ast::AssertionKind::WordBoundary
                | ast::AssertionKind::NotWordBoundary => Ok(()),
                _ => Err("it has a word boundary that RE2 does not know; use \\b".to_owned()),
            },
            Ast::Literal(literal) => {
                // A letter has two cases, and up to four bytes.
                self.add(8)?;
                literal_is_known(literal)
            }
            Ast::Dot(_) | Ast::ClassPerl(_) => self.add(16),
            Ast::ClassUnicode(_) => self.add(1500),
            _ => Ok(()),
        }
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), String> {
        if matches!(ast, Ast::Repetition(_)) {
            self.repeats.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        self.add(if matches!(item, ClassSetItem::Unicode(_)) { 1500 } else { 16 })?;
        match item {
            ClassSetItem::Literal(literal) => literal_is_known(literal),
            ClassSetItem::Range(range) => {
                literal_is_known(&range.start)?;
                literal_is_known(&range.end)
            }
            ClassSetItem::Bracketed(inner)
                if matches!(inner.kind, ClassSet::Item(_) | ClassSet::BinaryOp(_)) =>
            {
                Err("it has a class of characters inside another; write `\\[` for the character".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), String> {
        Err("RE2 has no `&&`, `--` or `~~` inside `[...]`".to_owned())
    }
}

fn flags_are_known(flags: &ast::Flags) -> Result<(), String> {
    for item in &flags.items {
        if let FlagsItemKind::Flag(ast::Flag::Unicode | ast::Flag::IgnoreWhitespace | ast::Flag::CRLF) =
            item.kind
        {
            return Err("RE2 knows only the flags i, m, s and U".to_owned());
        }
    }
    Ok(())
}

fn literal_is_known(literal: &ast::Literal) -> Result<(), String> {
    match literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("RE2 knows no \\u and \\U; write \\x{...}".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_re2_understands_alike_is_taken() {
        for good in [
            "/v[0-9]+/.*",
            "(?i)abc",
            "^/a$",
            r"\d{1,3}\.\x{41}\pL",
            "(?:a|b)*?",
            "(?P<n>x)",
            "[^/]+",
            "[[:alpha:]-]",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_it_refuses_or_takes_for_something_else_is_told() {
        for (bad, why) in [
            ("(", "at its character 1: unclosed group"),
            ("a**(?=b)", "look-around"),
            (r"\1", "backreferences are not supported"),
            ("(?x)a b", "flags i, m, s and U"),
            ("[a&&b]", "inside `[...]`"),
            ("[a[b]]", "class of characters inside another"),
            (r"\u0041", r"write \x{...}"),
            (r"\b{start}a", "word boundary"),
            ("(a{100}){11}", "more than 1000 times"),
            ("a{1001}", "more than 1000 times"),
            (r"\pL{20}", "too large"),
            ("(abcdefgh){400}", "too large"),
        ] {
            let told = check(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }
}
