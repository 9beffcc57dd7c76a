//! The commands that stand on a page, and a section of it whose commands a test runs: each of them, and no others.

use super::workspace;
use std::fs;

/// The lines of a page by number, with the language of the block that each stands in.
pub(crate) fn lines(text: &str) -> Vec<(usize, Option<&str>, &str)> {
    let mut block = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(language) => block = if block.is_some() { None } else { Some(language) },
            None => lines.push((index + 1, block, line)),
        }
    }
    lines
}

/// The commands of a page, each with its line: continued lines as one, without comments, prompts and what is printed.
pub(crate) fn commands(text: &str) -> Vec<(usize, String)> {
    let mut commands = Vec::<(usize, String)>::new();
    let mut goes_on = false;
    for (number, block, line) in lines(text) {
        let line = match block {
            Some("sh") => line,
            Some("console") if goes_on => line,
            Some("console") => match line.strip_prefix("$ ") {
                Some(line) => line,
                None => continue,
            },
            _ => continue,
        };
        let (kept, more) = line.strip_suffix('\\').map_or((line, false), |it| (it, true));
        match commands.last_mut() {
            Some((_, command)) if goes_on => *command += kept.trim_start(),
            _ => commands.push((number, kept.to_owned())),
        }
        goes_on = more;
    }
    commands
}

/// The sections of a page that have commands: their headings, and the commands.
pub(crate) fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let commands = commands(text);
    let mut headings =
        lines(text).into_iter().filter(|it| it.1.is_none() && it.2.starts_with('#')).peekable();
    let mut sections = Vec::new();
    while let Some((from, _, heading)) = headings.next() {
        let to = headings.peek().map_or(usize::MAX, |it| it.0);
        let own =
            commands.iter().filter(|(line, command)| (from..to).contains(line) && !command.trim().is_empty());
        let own: Vec<String> = own.map(|it| it.1.clone()).collect();
        if !own.is_empty() {
            sections.push((heading.trim_start_matches('#').trim().to_owned(), own));
        }
    }
    sections
}

/// The commands of a section, for a test that runs them. Each is taken from here by how it begins.
pub(crate) struct Section {
    name: String,
    text: String,
    commands: Vec<(String, bool)>,
}

impl Section {
    pub(crate) fn read(page: &str, heading: &str) -> Self {
        let text = fs::read_to_string(workspace().join(page)).unwrap();
        let mut sections = sections(&text).into_iter();
        let found = sections.find(|it| it.0 == heading);
        let (_, commands) = found.unwrap_or_else(|| panic!("{page} has no commands below {heading:?}"));
        let commands = commands.into_iter().map(|it| (it, false)).collect();
        Self { name: format!("{page}, {heading}"), text, commands }
    }

    /// The next command that begins so and was not taken yet, as it stands there.
    pub(crate) fn take(&mut self, begins: &str) -> String {
        let found = self.commands.iter_mut().find(|(it, taken)| !taken && it.starts_with(begins));
        let (command, taken) =
            found.unwrap_or_else(|| panic!("{} does not show {begins:?} (any more)", self.name));
        *taken = true;
        command.clone()
    }

    /// A command that stands in a sentence of the page, not in a block.
    pub(crate) fn inline(&self, command: &str) -> String {
        let shown = self.text.split('`').any(|it| it.split_whitespace().eq(command.split_whitespace()));
        assert!(shown, "{} does not mention `{command}` (any more)", self.name);
        command.to_owned()
    }

    /// All of it was run.
    pub(crate) fn end(self) {
        let left: Vec<_> = self.commands.iter().filter(|it| !it.1).map(|it| &it.0).collect();
        assert!(left.is_empty(), "{}: no test runs {left:#?}", self.name);
    }
}
