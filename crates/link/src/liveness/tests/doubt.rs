//! When the fault may be our own.

use super::*;

#[test]
fn our_own_stop_is_no_silence_of_others() {
    let mut world = settled(&[("west", 1), ("east", 1)]);
    world.stop(10_000);
    world.run(1000);
    assert_eq!(world.take(), []);

    // One of them died meanwhile: its silence counts from the moment of waking.
    world.set("west", Way::Swallows);
    world.stop(10_000);
    world.run(2000);
    assert_eq!(world.take_of("west"), [(22_300, PeerEvent::Suspect), (22_900, SILENT)]);
}

#[test]
fn a_beat_that_is_read_first_after_a_stop_does_not_hide_the_stop() {
    let mut world = settled(&[("west", 1), ("east", 1)]);
    world.now = world.now + 10_000 * MS;
    world.set("east", Way::Swallows);
    world.beats();
    assert_eq!(world.take(), []);
    world.run(1500);
    assert_eq!(world.take_of("east"), [(11_300, PeerEvent::Suspect), (11_900, SILENT)]);
}

#[test]
fn a_late_loop_holds_and_then_decides() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    world.run(200);
    world.stop(160); // Awake again at 1360, after 50 ms that were due and 110 that were late.
    world.run(2000);
    assert_eq!(world.take_of("west"), [(1460, PeerEvent::Suspect), (2010, SILENT)]);
}

#[test]
fn an_observer_that_is_always_late_still_comes_to_a_verdict() {
    let mut world = settled(&[("west", 1)]);
    world.set("west", Way::Swallows);
    let mut awake_ms = 0;
    while world.reach("west") == Reach::Reachable || world.reach("west") == Reach::Suspect {
        world.stop(500);
        world.run(150);
        awake_ms += 200;
        assert!(awake_ms < 4000);
    }
}

#[test]
fn two_of_two_that_fall_silent_together_are_not_believed_dead_on_our_own_traffic() {
    let mut world = settled(&[("west", 1), ("east", 1)]);
    world.set("west", Way::Swallows);
    world.set("east", Way::Swallows);
    for _ in 0..17 {
        world.run(50);
        world.traffic("west", 5, 0);
        world.traffic("east", 5, 0);
    }
    let suspects: Vec<_> = world.take().into_iter().map(|(_, _, event)| event).collect();
    assert_eq!(suspects, [PeerEvent::Suspect, PeerEvent::Suspect]);
    world.run(100);
    let told: Vec<_> = world.take().into_iter().map(|(at, _, event)| (at, event)).collect();
    assert_eq!(told, [(1900, SILENT), (1900, SILENT)]);
}

#[test]
fn peers_that_fall_silent_one_after_the_other_do_not_excuse_each_other() {
    let mut world = settled(&[("west", 1), ("east", 1), ("south", 1)]);
    world.set("west", Way::Swallows);
    world.run(400);
    world.set("east", Way::Swallows);
    world.run(100);
    world.traffic("west", 5, 0);
    assert_eq!(world.take_of("west"), [(1300, PeerEvent::Suspect), (1500, CORROBORATED)]);
}

#[test]
fn a_third_of_the_peers_is_no_reason_to_doubt_ourselves() {
    let mut world = settled(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 1)]);
    for name in ["a", "b"] {
        world.set(name, Way::Swallows);
    }
    world.run(350);
    world.traffic("a", 5, 0);
    assert_eq!(world.take_of("a"), [(1300, PeerEvent::Suspect), (1350, CORROBORATED)]);
}
