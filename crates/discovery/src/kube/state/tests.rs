use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn take(watch: &mut Watch, event: Event, at: u64) -> Option<Verdict> {
    watch.take(event, s(at), 1.0)
}

/// One that follows from version 100.
fn following() -> Watch {
    let mut watch = Watch::new(Pace::default());
    assert_eq!(take(&mut watch, Event::Served(true), 0), Some(Verdict::Begins));
    assert_eq!(watch.step(), Step::List(List::Streamed));
    assert_eq!(take(&mut watch, Event::Listed("100".to_owned()), 1), Some(Verdict::Complete));
    watch
}

fn away() -> Event {
    Event::Failed(Failure::Away("refused".to_owned()))
}

fn pause(watch: &Watch) -> Duration {
    match watch.step() {
        Step::Wait(until) => until,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_asked_before_the_kind_is_served() {
    let mut watch = Watch::new(Pace::default());
    assert_eq!(watch.step(), Step::AwaitServed);
    assert_eq!(take(&mut watch, Event::Served(false), 0), Some(Verdict::NoneServed));
    assert_eq!(watch.step(), Step::AwaitServed);
}

#[test]
fn a_watch_that_was_cut_is_resumed_where_it_stood() {
    let mut watch = following();
    take(&mut watch, Event::Changed("120".to_owned()), 2);
    take(&mut watch, Event::Closed, 3);
    assert_eq!(watch.step(), Step::AskNewest);
    assert_eq!(take(&mut watch, Event::Newest("130".to_owned()), 3), None);
    assert_eq!(watch.step(), Step::Follow("120".to_owned()));
}

#[test]
fn after_an_outage_all_is_listed_again() {
    let mut watch = following();
    take(&mut watch, Event::Closed, 2);
    take(&mut watch, away(), 2);
    assert_eq!(pause(&watch), s(2) + Duration::from_millis(100));
    assert_eq!(watch.rested(), None);
    assert_eq!(watch.step(), Step::AskNewest);
    assert_eq!(take(&mut watch, Event::Newest("100".to_owned()), 3), Some(Verdict::Begins));
    assert_eq!(watch.step(), Step::List(List::Streamed));
}

#[test]
fn a_store_that_was_put_back_is_believed_only_after_a_while() {
    let mut watch = following();
    take(&mut watch, Event::Closed, 2);
    assert_eq!(take(&mut watch, Event::Newest("99".to_owned()), 2), None);
    assert_eq!(pause(&watch), s(62));
    assert_eq!(watch.rested(), Some(Verdict::Begins));
    assert_eq!(take(&mut watch, Event::Listed("101".to_owned()), 63), Some(Verdict::Complete));
}

#[test]
fn a_list_that_breaks_off_is_never_complete() {
    let mut watch = Watch::new(Pace::default());
    take(&mut watch, Event::Served(true), 0);
    assert_eq!(take(&mut watch, Event::Closed, 1), None);
    pause(&watch);
    assert_eq!(watch.rested(), Some(Verdict::Begins));
}

#[test]
fn pauses_grow_to_a_limit_and_end_with_success() {
    let mut watch = following();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        take(&mut watch, away(), 0);
        pauses.push(pause(&watch));
    }
    assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
    assert_eq!(pauses[11], s(30));
    watch.take(away(), s(0), 0.0);
    assert_eq!(pause(&watch), s(15));
    watch.rested();
    take(&mut watch, Event::Newest("100".to_owned()), 0);
    take(&mut watch, Event::Listed("100".to_owned()), 0);
    take(&mut watch, away(), 0);
    assert_eq!(pause(&watch), Duration::from_millis(100));
}

#[test]
fn a_server_without_streaming_lists_is_asked_for_pages() {
    let mut watch = Watch::new(Pace::default());
    take(&mut watch, Event::Served(true), 0);
    assert_eq!(take(&mut watch, Event::Failed(Failure::NoStreaming), 0), Some(Verdict::Begins));
    assert_eq!(watch.step(), Step::List(List::Paged(None)));
    take(&mut watch, Event::Page("more".to_owned()), 0);
    assert_eq!(watch.step(), Step::List(List::Paged(Some("more".to_owned()))));
    // The token grew too old: from the first page.
    assert_eq!(take(&mut watch, Event::Failed(Failure::Gone), 0), Some(Verdict::Begins));
    assert_eq!(watch.step(), Step::List(List::Paged(None)));
}

#[test]
fn a_version_that_is_gone_is_listed_at_once_but_not_for_ever() {
    let mut watch = following();
    assert_eq!(take(&mut watch, Event::Failed(Failure::Gone), 2), Some(Verdict::Begins));
    assert_eq!(take(&mut watch, Event::Failed(Failure::Gone), 2), None);
    pause(&watch);
}

#[test]
fn a_busy_server_says_when_to_come_back_within_reason() {
    let mut watch = following();
    take(&mut watch, Event::Failed(Failure::Busy(Some(s(7)))), 0);
    assert_eq!(pause(&watch), s(7));
    take(&mut watch, Event::Failed(Failure::Busy(Some(s(7000)))), 0);
    assert_eq!(pause(&watch), s(60));
}

#[test]
fn a_kind_that_is_not_served_any_more_is_gone_after_a_while() {
    let mut watch = following();
    assert_eq!(take(&mut watch, Event::Served(false), 10), None);
    assert_eq!(take(&mut watch, Event::Failed(Failure::NotServed), 20), None);
    assert_eq!(take(&mut watch, Event::Served(false), 69), None);
    assert_eq!(take(&mut watch, Event::Served(false), 70), Some(Verdict::NoneServed));
    assert_eq!(watch.step(), Step::AwaitServed);
    // And back at once.
    assert_eq!(take(&mut watch, Event::Served(true), 71), Some(Verdict::Begins));
}

#[test]
fn a_server_that_ends_each_watch_at_once_is_not_asked_in_a_loop() {
    let mut watch = following();
    take(&mut watch, Event::Closed, 2);
    take(&mut watch, Event::Newest("100".to_owned()), 2);
    take(&mut watch, Event::Closed, 2);
    assert!(pause(&watch) > s(2));
}
