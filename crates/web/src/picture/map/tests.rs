use super::*;
use crate::{
    model::{PolicyFacts, Scope},
    picture::labels::{Rect, width},
};

fn zone(name: &str, standing: Standing) -> ZoneFacts {
    ZoneFacts {
        name: name.parse().unwrap(),
        standing,
        pools: 1,
        phases: Vec::new(),
        expected: 2,
        healthy: 2,
        capacity: Vec::new(),
    }
}

/// So many clusters, five a region at most in small fleets and ten in large ones, with three zones each; and flows between any of them.
fn fleet(clusters: usize, flows: usize) -> Fleet {
    let regions = clusters.div_ceil(if clusters > 20 { 10 } else { 5 }).max(3);
    let cluster = |number: usize| {
        // Some are bad, so that they are drawn whole in a large fleet.
        let standing = if number % 9 == 4 { Standing::Out } else { Standing::Good };
        ClusterFacts {
            name: format!("cluster-{number}").parse().unwrap(),
            state: ClusterState::Live,
            heard_at_ms: Some(0),
            zones: ["a", "b", "c"].map(|it| zone(it, standing)).to_vec(),
            gateways: Vec::new(),
            peers: Vec::new(),
            applied: 1,
            held_back: None,
            rejected: Vec::new(),
        }
    };
    let region = |number: usize| RegionFacts {
        name: format!("region-{number}").parse().unwrap(),
        clusters: (0..clusters).filter(|it| it % regions == number).map(cluster).collect(),
    };
    // Any numbers that differ; the same in each run.
    let mut drawn = 7_usize;
    let mut draw = |most: usize| {
        drawn = (drawn * 1_103_515_245 + 12_345) % (1 << 31);
        (drawn >> 8) % most
    };
    let mut place = || Place {
        cluster: format!("cluster-{}", draw(clusters)).parse().unwrap(),
        zone: ["a", "b", "c", ""][draw(4)].parse().ok(),
    };
    let flow = |number: usize| Flow {
        from: place(),
        to: place(),
        rate: (number % 7 != 3).then_some(12_345.6 / (number + 1) as f64),
        failed: number.is_multiple_of(3).then_some(10_400.0 / (number + 1) as f64),
        services: 3,
        standing: if number % 4 == 1 { Standing::Shifted } else { Standing::Good },
    };
    Fleet {
        scope: Scope::Fleet("corp.example".to_owned()),
        version: 1,
        at_ms: 0,
        flows: (0..flows).map(flow).collect(),
        regions: (0..regions).map(region).collect(),
        services: Vec::new(),
        shifts: Vec::new(),
        drills: Vec::new(),
        policy: PolicyFacts {
            sequence: 1,
            version: String::new(),
            phase: None,
            why: None,
            problems: Vec::new(),
        },
        attention: Vec::new(),
    }
}

fn number(tag: &str, name: &str) -> f64 {
    tag.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
}

/// The boxes of clusters, with the rows of zones in them, and the labels of lines, as they are drawn.
fn drawn(svg: &str) -> (Vec<Rect>, Vec<Rect>) {
    let (mut boxes, mut labels) = (Vec::new(), Vec::new());
    for tag in svg.split('<') {
        if tag.starts_with("rect class=\"m-") {
            let (left, top) = (number(tag, "x"), number(tag, "y"));
            let (right, bottom) = (left + number(tag, "width"), top + number(tag, "height"));
            boxes.push(Rect { left, top, right, bottom });
        } else if tag.starts_with("text class=\"m-flow") {
            let (x, y, text) = (number(tag, "x"), number(tag, "y"), tag.split_once('>').unwrap().1);
            let half = width(text) / 2.0;
            labels.push(Rect { left: x - half, top: y - 9.0, right: x + half, bottom: y + 2.0 });
        }
    }
    (boxes, labels)
}

#[test]
fn no_label_of_a_line_meets_a_box_or_another_label() {
    for clusters in [1, 3, 8, 12, 30, 100] {
        for columns in [1, 2, 3] {
            for flows in [1, 6, 40] {
                let fleet = fleet(clusters, flows);
                let svg = map(&fleet, columns, "", "id", 0).0;
                let (boxes, labels) = drawn(&svg);
                let what = format!("{clusters} clusters in {columns} columns, {flows} flows");
                assert!(!boxes.is_empty(), "{what}");
                for (at, label) in labels.iter().enumerate() {
                    let met = boxes.iter().chain(&labels[at + 1..]).find(|it| it.meets(label));
                    assert_eq!(met, None, "{what}: {label:?}");
                }
            }
        }
    }
}

#[test]
fn where_there_is_room_every_line_has_its_words() {
    for columns in [1, 3] {
        let fleet = fleet(3, 6);
        let svg = map(&fleet, columns, "", "id", 0).0;
        let expected: usize =
            between(&fleet.flows).iter().map(|it| 1 + usize::from(it.failed.is_some())).sum();
        assert_eq!(drawn(&svg).1.len(), expected, "{columns} columns: {svg}");
    }
}
