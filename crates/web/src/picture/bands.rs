//! Who serves what: sources on the left, who serves on the right, and bands between them as wide as what they carry. Pure.

use super::{Anchor, Svg, fitted};
use crate::{
    model::{Flow, Place, Standing},
    words::{self, Html},
};
use std::{cmp::Reverse, collections::BTreeMap};

const WIDTH: f64 = 660.0;
/// For the names of sources, and for those of who serves, with a sign and how much.
const NAMES: f64 = 190.0;
const ENDS: f64 = 230.0;
const POST: f64 = 8.0;
const LEAST: f64 = 20.0;
const GAP: f64 = 10.0;
/// Bands that are drawn; the smallest are left out, and it is said.
const MOST: usize = 40;

/// A band.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) weight: f64,
    pub(crate) standing: Standing,
    /// The weight for people.
    pub(crate) said: String,
}

/// Bands of flows, by cluster and zone.
pub(crate) fn of_flows(flows: &[Flow]) -> Vec<Band> {
    flows
        .iter()
        .map(|flow| Band {
            from: place(&flow.from),
            to: place(&flow.to),
            weight: flow.rate.unwrap_or(f64::from(flow.services)),
            standing: flow.standing,
            said: flow.rate.map_or_else(|| words::count(flow.services as usize, "service"), words::rate),
        })
        .collect()
}

pub(crate) fn place(of: &Place) -> String {
    match &of.zone {
        Some(zone) => format!("{}/{zone}", of.cluster),
        None => of.cluster.to_string(),
    }
}

/// One end of bands: its name, how much in all, where it is drawn, and what of it is taken.
struct Post {
    name: String,
    weight: f64,
    standing: Standing,
    y: f64,
    height: f64,
    used: f64,
}

fn posts<'a>(bands: &'a [Band], end: impl Fn(&'a Band) -> &'a str, is_source: bool, scale: f64) -> Vec<Post> {
    let mut sums: BTreeMap<&str, (f64, Standing)> = BTreeMap::new();
    for band in bands {
        let sum = sums.entry(end(band)).or_insert((0.0, Standing::Good));
        sum.0 += band.weight;
        sum.1 = if is_source { Standing::Good } else { sum.1.max(band.standing) };
    }
    let mut y = 8.0;
    let post = |(name, (weight, standing)): (&str, (f64, Standing))| {
        let height = (weight * scale).max(LEAST);
        let post = Post { name: name.to_owned(), weight, standing, y, height, used: 0.0 };
        y += height + GAP;
        post
    };
    sums.into_iter().map(post).collect()
}

/// The picture. Weights of one source need not sum to one.
pub(crate) fn bands(all: &[Band], id: &str, title: &str) -> Html {
    let mut shown: Vec<Band> = all.iter().filter(|band| band.weight > 0.0).cloned().collect();
    shown.sort_by_key(|band| Reverse((band.weight * 1000.0) as u64));
    let left_out = shown.len().saturating_sub(MOST);
    shown.truncate(MOST);
    shown.sort_by(|one, two| (&one.from, &one.to).cmp(&(&two.from, &two.to)));
    if shown.is_empty() {
        return Html("<p class=\"quiet\">Nothing is measured or planned here.</p>".to_owned());
    }
    let whole: f64 = shown.iter().map(|band| band.weight).sum();
    let scale = 220.0 / whole;
    let mut left = posts(&shown, |band| &band.from, true, scale);
    let mut right = posts(&shown, |band| &band.to, false, scale);
    let bottom = |posts: &[Post]| posts.last().map_or(0.0, |post| post.y + post.height);
    let height = f64::max(bottom(&left), bottom(&right)) + 10.0;
    let mut svg = Svg::default();
    for band in &shown {
        let one = left.iter_mut().find(|post| post.name == band.from).map(|post| take(post, band.weight));
        let two = right.iter_mut().find(|post| post.name == band.to).map(|post| take(post, band.weight));
        let (Some(one), Some(two)) = (one, two) else { continue };
        let mark = words::standing(band.standing);
        let title = format!("{} to {}: {} ({})", band.from, band.to, band.said, mark.word);
        svg.path(&format!("band k-{}", mark.class), &ribbon(one, two), None, &title);
    }
    for (posts, is_source) in [(&left, true), (&right, false)] {
        for post in posts {
            draw(&mut svg, post, is_source, &shown);
        }
    }
    let mut description: Vec<String> =
        shown.iter().take(12).map(|band| format!("{} to {}: {}", band.from, band.to, band.said)).collect();
    if left_out > 0 {
        description.push(format!("{left_out} smaller ones are left out"));
        svg.text(
            "m-small",
            (WIDTH / 2.0, height + 8.0),
            Anchor::Middle,
            &format!("{left_out} smaller ones are left out"),
        );
    }
    let height = if left_out > 0 { height + 16.0 } else { height };
    svg.finish(id, "bands", (WIDTH, height), title, &description.join("; "))
}

/// The next piece of a post: its upper and lower edge.
fn take(post: &mut Post, weight: f64) -> (f64, f64) {
    let piece = post.height * weight / post.weight.max(f64::MIN_POSITIVE);
    let from = post.y + post.used;
    post.used += piece;
    (from, from + piece)
}

fn ribbon((a, b): (f64, f64), (c, d): (f64, f64)) -> String {
    let (x1, x2) = (NAMES + POST, WIDTH - ENDS - POST);
    let middle = (x1 + x2) / 2.0;
    format!(
        "M{x1:.1} {a:.1}C{middle:.1} {a:.1} {middle:.1} {c:.1} {x2:.1} {c:.1}L{x2:.1} {d:.1}\
         C{middle:.1} {d:.1} {middle:.1} {b:.1} {x1:.1} {b:.1}Z"
    )
}

fn draw(svg: &mut Svg, post: &Post, is_source: bool, bands: &[Band]) {
    let middle = post.y + post.height / 2.0 + 4.0;
    if is_source {
        svg.area("post", (NAMES, post.y), (POST, post.height), 0.0);
        svg.text("m-name", (NAMES - 6.0, middle), Anchor::End, &fitted(&post.name, 27));
        return;
    }
    let mark = words::standing(post.standing);
    let x = WIDTH - ENDS;
    svg.area(&format!("post p-{}", mark.class), (x - POST, post.y), (POST, post.height), 0.0);
    let mut of: Vec<&str> =
        bands.iter().filter(|band| band.to == post.name).map(|band| &*band.said).collect();
    of.dedup();
    let said = if let [one] = *of { one.to_owned() } else { String::new() };
    let letters = 29_usize.saturating_sub(said.chars().count());
    let text = format!("{} {} {said}", mark.sign, fitted(&post.name, letters));
    svg.text(&format!("m-name s-{}", mark.class), (x + 6.0, middle), Anchor::Start, &text);
}
