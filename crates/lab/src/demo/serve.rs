//! A fleet to drill: it runs until somebody ends it, and breaks only what it is asked to.

use super::{Control, DemoError, DemoOptions, Interrupt, Screen, what_to_try};
use crate::fleet::Fleet;
use std::{io::Write, net::SocketAddr};

/// Starts the fleet of the demo and lets drills break it by way of `admin`, until Ctrl-C. When it returns, no process of it
/// is left.
pub async fn serve(
    options: DemoOptions,
    admin: SocketAddr,
    out: &mut (dyn Write + Send),
) -> Result<(), DemoError> {
    let mut interrupt = Interrupt::listen()?;
    let mut screen = Screen::new(out, false);
    screen.note(options.course.greeting())?;
    let control = Control::listen_at(admin)
        .await
        .map_err(|cause| DemoError::Write { what: format!("cannot listen on {admin} for drills"), cause })?;
    let mut fleet = tokio::select! {
        fleet = Fleet::start_joined(options.course.spec(), &options.binaries) => fleet?,
        () = interrupt.wait() => return Err(DemoError::Interrupted),
    };
    let served = tokio::select! {
        served = run(&mut fleet, &options, &control, &mut screen) => served,
        () = interrupt.wait() => Ok(()),
    };
    fleet.stop().await;
    served
}

async fn run(
    fleet: &mut Fleet,
    options: &DemoOptions,
    control: &Control,
    screen: &mut Screen<'_>,
) -> Result<(), DemoError> {
    fleet.ready(options.timing.start_limit).await?;
    screen.note(&what_to_try(fleet, control).await?)?;
    control.serve(fleet).await;
    Ok(())
}
