//! The definition of the image: linted, and as the manifests expect it. TIDEGATE_HADOLINT names the linter.

use std::{fs, path::Path, process::Command};

fn definition() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/image/Containerfile");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_definition_of_the_image_has_no_fault_that_a_linter_sees() {
    let Some(linter) = crate::tool("TIDEGATE_HADOLINT", "the program hadolint") else { return };
    let lint = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Containerfile");
        fs::write(&file, text).unwrap();
        let output = Command::new(Path::new(&linter))
            .args(["--no-color", "--failure-threshold", "style"])
            .arg(&file)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(lint(&definition()), (true, String::new()));
    let (good, said) =
        lint(&definition().replace("docker.io/library/rust:1.95-bookworm", "docker.io/library/rust"));
    assert!(!good && said.contains("DL3006"), "the linter sees an image without a version: {said}");
}

#[test]
fn the_image_is_static_for_nobody_and_has_the_program_where_probes_look() {
    let text = definition();
    let last = text.rsplit("FROM ").next().unwrap();
    assert!(text.contains("target-feature=+crt-static"));
    assert!(last.starts_with("gcr.io/distroless/static-") && last.contains("USER 65532:65532"), "{last}");
    assert!(last.contains(r#"ENTRYPOINT ["/tidegate"]"#), "{last}");
    // The program has to be of the Rust that the workspace asks for.
    let workspace = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml")).unwrap();
    let version =
        workspace.lines().find_map(|it| it.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(text.contains(&format!("rust:{version}-")), "the image is built by another Rust than {version}");
}
