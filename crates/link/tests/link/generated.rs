//! The committed code is what the protos generate. No `protoc` is needed, and nothing is
//! generated while building: `UPDATE_GENERATED=1 cargo test -p tidegate-link generated` writes it anew.

use std::{fs, path::Path};

const PROTOS: [&str; 4] = [
    "tidegate/link/v1/link.proto",
    "tidegate/link/v1/replica.proto",
    "tidegate/link/v1/gateway.proto",
    "tidegate/hub/v1/hub.proto",
];
const NAMES: [&str; 2] = ["tidegate.link.v1.rs", "tidegate.hub.v1.rs"];

#[test]
fn the_generated_code_is_that_of_the_protos() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = here.join("proto");
    let descriptors = protox::compile(PROTOS.map(|file| proto.join(file)), [&proto]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    for name in NAMES {
        let fresh = fs::read_to_string(folder.path().join(name)).unwrap();
        let committed = here.join("src/generated").join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&committed, &fresh).unwrap();
        }
        let found = fs::read_to_string(&committed).unwrap_or_default();
        assert!(
            found == fresh,
            "{} is not what its proto generates; run `UPDATE_GENERATED=1 cargo test -p tidegate-link generated`",
            committed.display()
        );
    }
}
