//! A page that is open in a browser and notes when it first shows what is waited for.

use super::browser::Browser;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fs, path::Path};

/// The head says that news reach the page.
pub(crate) const LIVE: &str = "document.getElementById('live').textContent === 'Live'";

pub(crate) struct Open(pub(crate) Browser);

impl Open {
    /// `None` without a browser.
    pub(crate) fn at(url: &str, shown: &str) -> Option<Self> {
        let mut browser = Browser::start()?;
        browser.window(1280, 900);
        browser.visit(url);
        browser.wait(LIVE);
        browser.value(&format!(
            "window.mark = 1; window.shown = 0; new MutationObserver(() => {{ if (!window.shown && ({shown})) window.shown = Date.now(); }})\
             .observe(document.body, {{childList: true, subtree: true, characterData: true}}); 0"
        ));
        Some(Self(browser))
    }

    /// When it showed it, in milliseconds since 1970; it was not loaded anew.
    pub(crate) fn shown(&mut self) -> u64 {
        self.0.wait("window.shown > 0");
        assert_eq!(self.0.value("window.mark"), 1, "the page was loaded anew");
        assert_eq!(self.0.complaints(), Vec::<String>::new());
        self.0.value("window.shown").as_u64().unwrap()
    }
}

/// Keeps what the page looks like below the target folder.
pub(crate) fn keep(browser: &mut Browser, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{name}.png")), STANDARD.decode(browser.screenshot()).unwrap()).unwrap();
}
