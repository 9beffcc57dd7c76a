//! What data traffic makes of a silence, and where it is not believed.

use super::*;

#[test]
fn failing_traffic_makes_a_suspect_unreachable_at_once() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(400);
    world.traffic("west", 5, 0);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1400, CORROBORATED)]);
}

#[test]
fn traffic_corroborates_only_with_attempts_within_the_silence_and_no_recent_success() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(40);
    world.traffic("west", 5, 0); // Its window began before the silence.
    world.run(210);
    world.traffic("west", 5, 1); // From here on requests may count as unanswered.
    world.run(100);
    world.traffic("west", 5, 0);
    world.run(100);
    world.traffic("west", 5, 0);
    world.run(600);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1450, CORROBORATED)]);

    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(400);
    world.traffic("west", 0, 0);
    world.run(1000);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1900, SILENT)]);
}

#[test]
fn requests_must_go_unanswered_for_200_ms_without_a_success_among_them() {
    let reports = |successes: [u64; 4]| {
        let mut world = settled(&[("west", 1)]);
        world.set("west", Way::Swallows);
        world.run(300);
        for success in successes {
            world.run(100);
            world.traffic_in(100 * MS, "west", 5, success);
        }
        world.take_of("west")
    };
    assert_eq!(reports([0, 0, 0, 0]), [(1300, PeerEvent::Suspect), (1500, CORROBORATED)]);
    assert_eq!(reports([0, 1, 0, 1]), [(1300, PeerEvent::Suspect)], "single windows without an answer");
}

#[test]
fn two_reports_that_come_a_little_early_corroborate() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    for after in [106, 96] {
        world.run(after);
        world.traffic_in(96 * MS, "west", 2, 0);
    }
    world.run(200);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1300, CORROBORATED)]);
}

/// When a report comes, by whom, and what it says of west: attempts and successes.
type Reported<'a> = (u32, &'a str, Option<(u64, u64)>);

/// West falls silent at 1000 ms. From then on these reports come, one after the other.
fn silent_with(reports: &[Reported<'_>]) -> Vec<(u128, PeerEvent)> {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    for (at, by, of) in reports {
        let past = u32::try_from(world.now.since_origin().as_millis()).unwrap() - 1000;
        world.run(at - past);
        let of: Vec<_> = of.iter().map(|(attempts, successes)| ("west", *attempts, *successes)).collect();
        world.report(100 * MS, by, &of);
    }
    world.run(1000);
    world.take_of("west")
}

#[test]
fn a_report_that_leaves_a_blamed_peer_out_carries_the_blame_on() {
    // Requests that wait for a connection are in no report.
    let told = silent_with(&[(90, "edge", Some((2, 2))), (190, "edge", Some((1, 0))), (290, "edge", None)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1300, CORROBORATED)]);
}

#[test]
fn traffic_that_merely_ended_speaks_for_nothing() {
    let told = silent_with(&[(150, "edge", None), (250, "edge", None), (350, "edge", Some((0, 0)))]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1900, SILENT)]);
    // Nor does a blame that no report has carried on.
    let told = silent_with(&[(150, "edge", Some((1, 0))), (460, "edge", None), (560, "edge", None)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1900, SILENT)]);
}

#[test]
fn a_gateway_that_says_nothing_takes_back_no_evidence_of_another() {
    let told = silent_with(&[
        (110, "a", Some((1, 0))),
        (150, "b", None),
        (210, "a", Some((1, 0))),
        (250, "b", None),
    ]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1300, CORROBORATED)]);
}

#[test]
fn single_windows_of_several_gateways_are_not_added_up() {
    let told = silent_with(&[(110, "a", Some((1, 0))), (200, "b", Some((1, 0))), (290, "c", Some((1, 0)))]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1900, SILENT)]);
}

#[test]
fn a_success_of_any_gateway_counts_against_what_was_blamed_before_it() {
    let blamed = |at| (at, "a", Some((3, 0)));
    let told = silent_with(&[blamed(110), blamed(210), (260, "b", Some((1, 1))), blamed(310), blamed(410)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1900, SILENT)]);
    let told = silent_with(&[blamed(110), (150, "b", Some((1, 1))), blamed(210), blamed(310), blamed(410)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1410, CORROBORATED)]);
}

#[test]
fn answers_just_before_the_fault_delay_the_verdict_by_no_more_than_their_window() {
    // The fault struck at 99 ms: the window that it struck has a success. What was open at its end found no answer, and
    // what came later waited for connections.
    let told = silent_with(&[(190, "edge", Some((3, 1))), (290, "edge", None), (390, "edge", None)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1390, CORROBORATED)]);
    // It struck at 5 ms, in a window that had begun before the silence.
    let told = silent_with(&[(90, "edge", Some((3, 2))), (190, "edge", None), (290, "edge", None)]);
    assert_eq!(told, [(1300, PeerEvent::Suspect), (1300, CORROBORATED)]);
}

#[test]
fn on_a_line_that_loses_beats_a_silence_counts_only_after_two_seconds_and_a_half() {
    let after_late = |late: u32, pause: u32| {
        let mut world = settled(&[("west", 1)]);
        for _ in 0..late {
            world.set("west", Way::Swallows);
            world.run(150);
            world.set("west", Way::Echoes);
            world.run(150);
        }
        world.run(pause);
        let last = world.now.since_origin().as_millis() / 100 * 100;
        world.set("west", Way::Swallows);
        for _ in 0..40 {
            world.run(100);
            world.traffic_in(100 * MS, "west", 5, 0);
        }
        let told = world
            .take_of("west")
            .into_iter()
            .find(|(_, it)| !matches!(it, PeerEvent::Suspect | PeerEvent::Cleared));
        told.map(|(at, event)| (at - last, event)).unwrap()
    };
    let for_long = PeerEvent::Unreachable { why: Why::SilentForLong };
    assert_eq!(after_late(5, 0), (2500, for_long.clone()));
    assert_eq!(after_late(5, 8000), (2500, for_long));
    assert_eq!(after_late(5, 12_000), (300, CORROBORATED), "it was rough, and is no more");
    assert_eq!(after_late(2, 0), (900, SILENT), "traffic would wait as beats do");
    assert_eq!(after_late(1, 0), (300, CORROBORATED));
}

#[test]
fn traffic_alone_makes_no_peer_unreachable() {
    let mut world = settled(&[("west", 1)]);
    for _ in 0..50 {
        world.run(50);
        world.traffic("west", 100, 0);
    }
    assert_eq!(world.take(), []);
}
