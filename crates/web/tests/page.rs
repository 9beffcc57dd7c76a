//! The page as it is served and as a browser shows it, from facts that the test makes up.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and tells on its terminal"
)]

#[path = "page/browsed.rs"]
mod browsed;
#[path = "../../cli/tests/drill/browser.rs"]
mod browser;
#[path = "page/fixture.rs"]
mod fixture;
#[path = "page/served.rs"]
mod served;
#[path = "page/stage.rs"]
mod stage;
