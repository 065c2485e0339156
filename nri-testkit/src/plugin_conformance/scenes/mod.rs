//! What is played with a plugin: each scene starts it, connects to it, and looks at one or several
//! checks.

mod ending;
mod joining;
mod life;
mod messages;

use std::future::Future;
use std::pin::Pin;

use super::check::Check;
use super::stage::{Played, Stage};

type Play = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Played> + Send + 'a>>;

/// A scene and what it is about.
pub(super) struct Scene {
    pub(super) checks: &'static [Check],
    pub(super) play: Play,
}

macro_rules! scenes {
    ($($module:ident::$scene:ident: $($check:ident),+;)+) => {
        pub(super) const ALL: &[Scene] = &[$(Scene {
            checks: &[$(Check::$check),+],
            play: |stage| Box::pin($module::$scene(stage)),
        }),+];
    };
}

scenes! {
    joining::usual: Registered, Configured, Synchronised;
    joining::launched: Launched;
    joining::by_socket: Socket;
    joining::refused: Refused;
    life::whole: Answers, Adjusts;
    life::bare_pod: BarePod;
    life::bare_container: BareContainer;
    life::unknown: Unknown;
    joining::split: SplitSync;
    messages::large: Large;
    messages::parallel: Parallel;
    messages::newer: NewerRuntime;
    messages::older: OlderRuntime;
    joining::slow: SlowRuntime;
    messages::failed_updates: FailedUpdates;
    ending::shutdown: Shutdown;
    ending::torn: Torn;
    ending::restart: Restart;
    ending::with_runtime: EndsWithRuntime;
    ending::terminated: Terminates;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_scene() {
        let played = ALL.iter().flat_map(|scene| scene.checks);
        let mut played: Vec<Check> = played.copied().collect();
        played.sort();
        assert_eq!(played, Check::ALL);
    }
}
