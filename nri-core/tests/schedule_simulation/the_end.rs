//! What must be true when nothing is under way any more.

use std::collections::BTreeSet;

use nri_core::lifecycle::ObjectKey;
use nri_core::{Event, RegisteredPlugin};

use crate::peer::Where;
use crate::world::World;

impl World {
    /// When nothing is under way any more.
    pub(crate) fn check_the_end(&mut self) {
        assert!(
            self.asked.is_empty(),
            "{} requests never end",
            self.asked.len()
        );
        for (container, seen) in &self.undone {
            for plugin in seen {
                let Some(peer) = self.peers.get(plugin).filter(|peer| peer.owed.is_empty()) else {
                    continue;
                };
                let heard = peer.undone.get(container).cloned().unwrap_or_default();
                let wanted: Vec<Event> = [Event::StopContainer, Event::RemoveContainer]
                    .into_iter()
                    .filter(|event| peer.events.contains(*event))
                    .collect();
                assert_eq!(heard, wanted, "{plugin} is left with {container}");
            }
        }
        let exist = self.store.iter().filter(|(_, stored)| stored.committed);
        let exist: BTreeSet<String> = exist.map(|(id, _)| id.clone()).collect();
        let mut pictures = 0;
        for (plugin, peer) in &self.peers {
            if peer.observes && peer.state == Where::Open && peer.sees_everything() {
                // What has stopped and is not removed is not shown again.
                let lives = |id: &&String| {
                    let key = ObjectKey::container("", id.as_str());
                    self.scheduler.lifecycles().shows(&key) && !peer.straggled.contains(*id)
                };
                let unknown = exist.difference(&peer.picture).find(lives);
                assert_eq!(unknown, None, "{plugin} does not know of it");
                let gone = peer.picture.difference(&exist).next();
                assert_eq!(gone, None, "{plugin} does not know of its end");
                pictures += 1;
            }
        }
        for _ in 0..pictures {
            self.count("observers that know everything");
        }
        let all: Vec<RegisteredPlugin> = self.peers.keys().cloned().collect();
        for plugin in all {
            self.forget_peer(&plugin);
            self.scheduler.handle_lost(&plugin, self.now);
        }
        self.take_effects();
        assert_eq!(self.scheduler.poll_timeout(), None);
        let left = format!("{:?}", self.scheduler);
        assert!(left.contains("requests: 0, calls: 0"), "{left}");
    }
}
