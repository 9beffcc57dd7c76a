//! The releases of Envoy that are fetched: the newest that Tidegate was measured on, and for the tests the oldest
//! that it supports.

/// A release, and its wheel for each platform.
pub(super) struct Release {
    pub(super) version: &'static str,
    pub(super) pins: [Pin; 3],
}

/// The wheel for one platform.
pub(super) struct Pin {
    os: &'static str,
    arch: &'static str,
    /// pip's platform tag.
    pub(super) tag: &'static str,
    pub(super) sha256: &'static str,
}

impl Release {
    pub(super) fn pin(&self, os: &str, arch: &str) -> Option<&Pin> {
        self.pins.iter().find(|pin| pin.os == os && pin.arch == arch)
    }
}

const fn linux(arch: &'static str, tag: &'static str, sha256: &'static str) -> Pin {
    Pin { os: "linux", arch, tag, sha256 }
}

const fn macos(sha256: &'static str) -> Pin {
    Pin { os: "macos", arch: "aarch64", tag: "macosx_15_0_arm64", sha256 }
}

/// What is fetched where none is named.
pub(super) static LATEST: Release = Release {
    version: "1.40.0",
    pins: [
        linux(
            "x86_64",
            "manylinux_2_31_x86_64",
            "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        ),
        linux(
            "aarch64",
            "manylinux_2_31_aarch64",
            "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        ),
        macos("985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf"),
    ],
};

/// The oldest that is supported.
pub(super) static OLDEST: Release = Release {
    version: "1.36.2",
    pins: [
        linux(
            "x86_64",
            "manylinux_2_31_x86_64",
            "c75488ad0be907f077883691aa3832a79b509c1f6c993b420683e90793e13efc",
        ),
        linux(
            "aarch64",
            "manylinux_2_31_aarch64",
            "9e5048686ebee6999b021eefe313444e4c2280ac48c4ae23c61a13612e407225",
        ),
        macos("9ad57f6efc11867de45ba677ab6e2940f672222cefb675ebdb0c2d3d48919f2b"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_releases_are_pinned_for_each_platform() {
        for release in [&LATEST, &OLDEST] {
            let tag = release.pin("linux", "x86_64").map(|pin| pin.tag);
            assert_eq!(tag, Some("manylinux_2_31_x86_64"));
            assert!(release.pin("linux", "aarch64").is_some() && release.pin("macos", "aarch64").is_some());
            assert!(release.pin("windows", "x86_64").is_none());
            for pin in &release.pins {
                assert_eq!(pin.sha256.len(), 64);
            }
        }
    }
}
