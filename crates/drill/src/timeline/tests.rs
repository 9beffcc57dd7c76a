use super::*;
use tidegate_model::Time;

#[test]
fn the_fastest_answer_says_the_offset_best() {
    // The agent is 5 s ahead.
    let asked = [(1_000_000, 6_004_000, 1_010_000), (2_000_000, 7_000_900, 2_002_000)];
    assert_eq!(offset(&asked), Some(Offset { ahead_us: 4_999_900, uncertainty_us: 1000 }));
    assert_eq!(offset(&[]), None);
}

#[test]
fn times_of_an_agent_are_told_on_the_drills_clock_with_their_uncertainty() {
    let clock = Clock::start();
    let at = Time::from_millis;
    let moments = Moments {
        fault: Some(at(1000)),
        mending: Some(at(5000)),
        mended: Some(at(5100)),
        ..Moments::default()
    };
    // Its clock is 2 s ahead.
    let event = |seq, ms: u64, kind: &str| Event {
        seq,
        unix_micros: clock.unix_micros(at(ms + 2000)),
        kind: kind.to_owned(),
        ..Event::default()
    };
    let events = vec![
        event(1, 500, "planChanged"),
        event(2, 1000, "drillChanged"),
        event(3, 1300, "poolChanged"),
        event(4, 1350, "planChanged"),
        event(5, 6100, "planChanged"),
        event(6, 9100, "planChanged"),
    ];
    let clock_at = |ahead_us| Some(Offset { ahead_us, uncertainty_us: 400 });
    let told = AgentTold {
        agent: "a".to_owned(),
        before: clock_at(2_000_000),
        after: clock_at(2_001_500),
        events: Ok(events),
        in_force: Err("old".to_owned()),
        traffic: Ok(Vec::new()),
    };
    let silent = AgentTold {
        agent: "b".to_owned(),
        before: None,
        after: None,
        events: Err("gone".to_owned()),
        in_force: Err("old".to_owned()),
        traffic: Ok(Vec::new()),
    };
    let part = agents_part(&[told, silent], &DrillTarget::Hub, &clock, moments);
    assert_eq!((part.detect_ms, part.decide_ms), (Some(300.0), Some(50.0)));
    assert_eq!((part.uncertainty_ms, part.stable_failback_ms), (Some(1.5), Some(4000.0)), "the clock moved");
    assert_eq!((part.agents[0].moves, part.agents[0].moves_back), (1, 2));
    assert_eq!(part.agents[1].error.as_deref(), Some("gone"));
    assert_eq!(part.agents[0].missing, ["what is in force: old"]);
    assert!(part.agents[1].missing.is_empty(), "it told nothing at all");
}

fn moments() -> Moments {
    let at = Time::from_millis;
    Moments {
        steady: Some(at(0)),
        fault: Some(at(10_000)),
        mending: Some(at(20_000)),
        mended: Some(at(20_100)),
        done: Some(at(30_000)),
        ..Moments::default()
    }
}

/// An agent whose clock is right, but for half a millisecond.
fn agent(name: &str, events: Vec<Event>) -> AgentTold {
    let right = Some(Offset { ahead_us: 0, uncertainty_us: 500 });
    AgentTold {
        agent: name.to_owned(),
        before: right,
        after: right,
        events: Ok(events),
        in_force: Err("old".to_owned()),
        traffic: Ok(Vec::new()),
    }
}

#[test]
fn a_push_is_told_from_the_first_decision_to_the_last_gateway_that_had_it() {
    let clock = Clock::start();
    let unix_micros = |ms: u64| clock.unix_micros(Time::from_millis(ms));
    let plan = |seq, ms| Event {
        seq,
        unix_micros: unix_micros(ms),
        kind: "planChanged".to_owned(),
        ..Event::default()
    };
    let ack = |seq, ms, gateway: &str, decision| Event {
        kind: "pushAcked".to_owned(),
        gateway: Some(gateway.to_owned()),
        version: Some(format!("v{seq}")),
        decision: Some(decision),
        ..plan(seq, ms)
    };
    let notice = Event { kind: "poolChanged".to_owned(), ..plan(2, 10_200) };
    let east = agent(
        "east",
        vec![
            ack(1, 10_050, "edge", 0), // of a decision before the fault
            notice,
            plan(3, 10_250),
            ack(4, 10_260, "edge", 3),
            ack(5, 10_290, "internal", 3),
            plan(6, 12_000),
            ack(7, 12_010, "edge", 6),
            plan(8, 22_000),
            ack(9, 22_005, "edge", 8), // on the way back
        ],
    );
    let west = agent("west", vec![plan(1, 10_400), ack(2, 10_430, "edge-west", 1)]);
    let part = agents_part(&[east, west], &DrillTarget::Hub, &clock, moments());
    assert_eq!((part.detect_ms, part.decide_ms), (Some(200.0), Some(50.0)));
    assert_eq!((part.push_first_ms, part.push_last_ms), (Some(10.0), Some(170.0)), "10,260 and 10,430");
    let gateways: Vec<_> =
        part.agents[0].gateways.iter().map(|it| (it.gateway.as_str(), it.first_ms, it.last_ms)).collect();
    assert_eq!(gateways, [("edge", 260.0, 2010.0), ("internal", 290.0, 290.0)]);
    assert_eq!(part.agents[0].gateways[0].version, "v4");
    assert_eq!((part.first_failback_ms, part.stable_failback_ms), (Some(1900.0), Some(1900.0)));
    let told: Vec<_> = part.decisions.iter().map(|it| (it.at_ms, it.agent.as_str())).collect();
    assert_eq!(
        told,
        [(10_200.0, "east"), (10_250.0, "east"), (10_400.0, "west"), (12_000.0, "east"), (22_000.0, "east")]
    );
}

#[test]
fn a_ramp_is_one_move_and_a_relapse_another() {
    let clock = Clock::start();
    let shares = |of: &[(&str, u32)]| of.iter().map(|(name, part)| ((*name).to_owned(), *part)).collect();
    let plan = |seq: u64, before: u32, after: u32| Event {
        seq,
        unix_micros: clock.unix_micros(Time::from_millis(10_000 + seq * 1000)),
        kind: "planChanged".to_owned(),
        service: Some("shop/web".to_owned()),
        source: Some("east/a".to_owned()),
        before: shares(&[("zone a", before), ("zone b", 10_000 - before)]),
        after: shares(&[("zone a", after), ("zone b", 10_000 - after)]),
        ..Event::default()
    };
    let there_and_back =
        vec![plan(1, 10_000, 5000), plan(2, 5000, 0), plan(11, 0, 3000), plan(12, 3000, 10_000)];
    let moves = |events: Vec<Event>| breakdown::moves(&[agent("a", events)], &clock, moments());
    assert_eq!(moves(there_and_back.clone()), Some(2));
    assert_eq!(moves([there_and_back, vec![plan(13, 10_000, 0), plan(14, 0, 10_000)]].concat()), Some(4));
    assert_eq!(moves(Vec::new()), Some(0));
    let silent = AgentTold { events: Err("gone".to_owned()), ..agent("a", Vec::new()) };
    assert_eq!(breakdown::moves(&[silent], &clock, moments()), None);
}

#[test]
fn a_list_of_decisions_has_its_limit_and_says_what_it_leaves_out() {
    let clock = Clock::start();
    let event = |seq: u64| Event {
        seq,
        unix_micros: clock.unix_micros(Time::from_millis(10_000 + seq)),
        kind: "poolChanged".to_owned(),
        service: Some("shop/web".to_owned()),
        reason: "x".repeat(2000),
        ..Event::default()
    };
    let (lines, left_out) =
        breakdown::decisions(&[agent("a", (1..=310).map(event).collect())], &clock, moments());
    assert_eq!((lines.len(), left_out), (300, 10));
    assert!(
        lines[0].what.starts_with("shop/web: xxx") && lines[0].what.len() == 503,
        "{}",
        lines[0].what.len()
    );
}
