//! An endpoint that is out for what requests found there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, address, percent, service};
use tidegate_engine::{Effects, Event, Written};

fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10);
    world.until(10.0).forget_history();
    world
}

fn eject(world: &mut World, n: u8, ejected: bool) -> Effects {
    let (service, address) = (service("web"), address("a", n));
    world.handle(Event::Ejected { service, address, ejected, reason: "errors".to_owned() })
}

/// `healthy/expected` of zone a.
fn counts(world: &World) -> String {
    world.pool("web", "a").split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn it_is_out_until_it_is_let_back_whatever_its_checks_its_policy_and_the_agent_do() {
    let mut world = shop();
    world.engine.take_unsaved(usize::MAX, true, world.now);
    assert_eq!(world.engine.unsaved(), 0);
    for n in 1..=3 {
        assert!(eject(&mut world, n, true).changed.contains(&service("web")));
        assert!(eject(&mut world, n, true).decisions.is_empty(), "no news");
    }
    assert_eq!(world.pool("web", "a"), "Serving 7/10 100 %");
    assert_eq!(world.engine.unsaved(), 1, "it is written to disk");
    world.check("web", "a", 1, false).check("web", "a", 1, true);
    assert_eq!(counts(&world), "7/10", "its checks speak for themselves");
    world.policy.failover_threshold = Written::default_value(percent(60.0));
    world.discover("web", |_| {});
    assert_eq!(counts(&world), "7/10", "a change of policy wipes no ejection");
    let mut after = world.restarted();
    after.add("web", &["a", "b"], 10);
    assert_eq!(counts(&after), "7/10", "nor does a restart");
    let view = after.engine.endpoints(&service("web")).find(|it| it.address == address("a", 2)).unwrap();
    assert!(view.ejected && view.passes && !view.healthy);
    for n in 1..=3 {
        eject(&mut world, n, false);
    }
    assert_eq!(counts(&world), "10/10");
}

#[test]
fn one_that_is_shut_down_left_on_purpose() {
    let mut world = shop();
    eject(&mut world, 1, true);
    world.terminate("web", "a", [1]);
    assert_eq!(counts(&world), "9/9");
}

#[test]
fn of_one_that_nobody_knows_nothing_is_told() {
    let mut world = shop();
    assert_eq!(eject(&mut world, 200, true), Effects::default());
}
