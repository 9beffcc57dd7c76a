//! Open-loop load (crate `drill`), tried here on toys that refuse, hang and answer 503.

pub use tidegate_drill::load::*;

#[cfg(test)]
mod tests;
