//! What objects a file holds, each by itself: for whoever hands objects on instead of acting by them.

use crate::{
    kinds::Kind,
    loader::{SourceFile, read_file},
    problem::Problem,
};
use std::sync::Arc;

/// An object of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `Kind NAMESPACE/NAME`; `None` when the mistake is in the kind or the name.
    pub object: Option<String>,
    /// Whether it is for the whole fleet, and not the business of one cluster: a kind of Tidegate's own, a `GatewayClass`, or a
    /// `Gateway` with the annotation `tidegate.dev/scope: Fleet`.
    pub policy: bool,
    /// The line where it begins, from 1.
    pub line: u32,
}

/// The objects of a file that Tidegate has a use for, in order. What is wrong with them is [`crate::Loader`]'s to say.
///
/// # Errors
/// If the file is not YAML, or too long.
pub fn inventory(file: &SourceFile) -> Result<Vec<Listed>, Problem> {
    let listed = read_file(&Arc::from(file.path.as_str()), &file.text)?.into_iter().map(|reading| Listed {
        policy: reading.key.as_ref().is_some_and(|key| match key.kind {
            Kind::GatewayClass => true,
            Kind::Gateway => reading.for_fleet,
            kind => kind.is_ours(),
        }),
        object: reading.key.map(|key| key.to_string()),
        line: reading.at.line,
    });
    Ok(listed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objects_of_a_file_are_listed_with_their_lines() {
        let text = "kind: FleetCluster\napiVersion: tidegate.dev/v1alpha1\nmetadata: {name: a}\nspec: {region: r}\n---\n\n\
                    apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n---\nkind: Nonsense\n";
        let file = SourceFile { path: "a.yaml".to_owned(), text: text.to_owned() };
        let listed = inventory(&file).unwrap();
        let short: Vec<_> = listed.iter().map(|it| (it.object.as_deref(), it.policy, it.line)).collect();
        let expected =
            [(Some("FleetCluster a"), true, 1), (Some("Service shop/web"), false, 7), (None, false, 11)];
        assert_eq!(short, expected);
        let broken = SourceFile { path: "b.yaml".to_owned(), text: "kind: [\n".to_owned() };
        assert!(inventory(&broken).unwrap_err().message.contains("not YAML"));
    }
}
