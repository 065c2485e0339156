//! What is played with a runtime: each scene makes what it needs, and looks at one or several of
//! the promises.

mod changes;
mod ending;
mod joining;
mod life;
mod refusals;

use std::future::Future;
use std::pin::Pin;

use super::bench::Bench;
use super::driver::Played;
use super::report::Check;

type Play = for<'a> fn(&'a Bench<'a>) -> Pin<Box<dyn Future<Output = Played> + Send + 'a>>;

/// A scene and the promises that it is about.
pub(super) struct Scene {
    pub(super) checks: &'static [Check],
    pub(super) play: Play,
}

macro_rules! scenes {
    ($($module:ident::$scene:ident: $($check:ident),+;)+) => {
        pub(super) const ALL: &[Scene] = &[$(Scene {
            checks: &[$(Check::$check),+],
            play: |bench| Box::pin($module::$scene(bench)),
        }),+];
    };
}

scenes! {
    life::whole: Synchronised, Order, PodShown, ContainerShown, StateShown, Applied, AdjustedShown;
    life::two_plugins: PluginOrder;
    refusals::conflict: Conflict;
    refusals::creation: CreateRefused;
    refusals::failure: CreateUndone;
    refusals::pod: PodRefused;
    refusals::start: StartRefused;
    changes::update: Updated;
    changes::refused_update: UpdateRefused;
    changes::side_update: SideUpdate;
    changes::unsolicited: Unsolicited;
    changes::eviction: Evicted;
    joining::late: LateJoiner;
    joining::during: JoinDuring;
    ending::stopped_twice: Once;
    ending::removed_while_running: RemovalImplies;
    ending::exit: ExitTold;
    joining::restart: RuntimeRestart;
    ending::started_again: StartsAgain;
    refusals::lost_plugin: LostPlugin;
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
