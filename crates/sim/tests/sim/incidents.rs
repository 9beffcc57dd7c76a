//! The incidents of docs/decision.md: played anew, their pictures are those in docs/incidents, byte by byte.

use crate::root;
use std::fs;
use tidegate_sim::{Fleet, Scenario, picture, simulate};

#[test]
fn the_pictures_in_docs_are_those_of_the_scenarios() {
    let mut seen = 0;
    let folder = root().join("examples/incidents");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let scenario = Scenario::read(&path).unwrap();
        let drawn = picture(&simulate(&scenario, &Fleet::load(&scenario.manifests).unwrap()));
        let kept = root().join("docs/incidents").join(format!("{name}.svg"));
        assert!(
            fs::read_to_string(&kept).unwrap_or_default() == drawn,
            "{name}.svg is not what the scenario gives; draw it anew with `cargo xtask incidents` and look at it"
        );
        seen += 1;
    }
    assert_eq!(seen, 4);
}
