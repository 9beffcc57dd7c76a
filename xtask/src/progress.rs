//! Progress of slow steps: a spinner on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

/// A slow step that is under way. It ends with [`Step::done`]; dropped before, it leaves no trace of success.
pub(crate) struct Step {
    spinner: Option<ProgressBar>,
}

/// Says that a slow step begins.
pub(crate) fn step(what: String) -> Step {
    if !stderr().is_terminal() {
        eprintln!("{what} ...");
        return Step { spinner: None };
    }
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.set_message(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    Step { spinner: Some(spinner) }
}

impl Step {
    /// Says what it came to.
    pub(crate) fn done(mut self, result: &str) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        eprintln!("{result}");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}
