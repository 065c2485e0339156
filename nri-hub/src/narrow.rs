//! Subscribing to no more than plugins below want, where the hub is told to (`narrow`), and
//! registering again when they want more; and telling what they want and the operator leaves out.
//!
//! What may not enter: what becomes of events.

use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::{Event, EventMask};
use nri_plugin::{Handle, State};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::{HubSettings, NECESSARY};
use crate::shared::Shared;

/// What tells the hub in what state things are, beside what it cannot do without.
const TELLING: [Event; 2] = [Event::StartContainer, Event::PostUpdateContainer];

/// How long the hub waits when something is missing, so that plugins that come together are one
/// reason. Each time it has registered again it is doubled, and a time as long as [`LONGEST`]
/// without any begins anew.
const FIRST: Duration = Duration::from_millis(200);
/// The longest of these waits.
const LONGEST: Duration = Duration::from_secs(60);
/// How long requests may take that have come before.
const PATIENCE: Duration = Duration::from_millis(800);

/// What is to be subscribed to while plugins below want so much.
pub(crate) fn wanted(settings: &HubSettings, below: EventMask) -> EventMask {
    if !settings.narrow {
        return settings.events;
    }
    let own = NECESSARY.into_iter().chain(TELLING);
    let own = own.fold(EventMask::NONE, |all, event| all | event.into());
    settings.events & (own | below)
}

/// Sees to it that plugins get what they want, or that it is told that they do not. Never resolves.
pub(crate) async fn narrowed(
    shared: &Arc<Shared>,
    above: &Handle,
    known: watch::Receiver<EventMask>,
) {
    tokio::join!(tell_what_is_left_out(shared), widen(shared, above, known));
}

/// Tells which events plugins want that the operator leaves out, each once.
async fn tell_what_is_left_out(shared: &Arc<Shared>) {
    let (mut below, mut told) = (shared.nri.watch_events(), shared.settings().events);
    loop {
        let new = *below.borrow_and_update() - told;
        if !new.is_empty() {
            told |= new;
            tracing::warn!(events = %new, "plugins want events that `hub.events` leaves out: they do not get them");
            let what = format!("{new}: wanted by a plugin, and not in `hub.events`");
            shared.records.note("left out", &what);
        }
        if below.changed().await.is_err() {
            // The run is about to end.
            std::future::pending::<()>().await;
        }
    }
}

/// Registers again whenever something is missing.
async fn widen(shared: &Arc<Shared>, above: &Handle, mut known: watch::Receiver<EventMask>) {
    let settings = shared.settings();
    let mut below = shared.nri.watch_events();
    let mut state = above.state();
    let mut wait = FIRST;
    if !settings.narrow {
        return std::future::pending().await;
    }
    loop {
        let missing = {
            let all = wanted(&settings, *below.borrow_and_update()) & *known.borrow_and_update();
            match &*state.borrow_and_update() {
                State::Ready(registration) => all - registration.events,
                // It will ask for it anyway.
                _ => EventMask::NONE,
            }
        };
        if !missing.is_empty() && sleeping(wait, &mut state).await {
            tracing::info!(
                ?missing,
                "plugins want further events: the hub registers again"
            );
            if above.reconnect(PATIENCE).await {
                // It has changed, or is about to: what is missing is seen then.
                let _ = state.changed().await;
            }
            wait = (wait * 2).min(LONGEST);
            continue;
        }
        let changed = tokio::select! {
            changed = below.changed() => changed,
            changed = known.changed() => changed,
            changed = state.changed() => changed,
            () = sleep(LONGEST), if wait > FIRST => {
                wait = FIRST;
                Ok(())
            }
        };
        if changed.is_err() {
            // The run is about to end.
            std::future::pending::<()>().await;
        }
    }
}

/// Whether the connection stays as it is for so long.
async fn sleeping(wait: Duration, state: &mut watch::Receiver<State>) -> bool {
    tokio::select! {
        () = sleep(wait) => true,
        _ = state.changed() => false,
    }
}
