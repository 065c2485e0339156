//! A runtime that reads each object when it is its turn to be shown: what is gone by then is left
//! out, and the scheduler is told.

use nri_core::RegisteredPlugin;
use nri_core::lifecycle::ObjectKey;

use crate::peer::Meeting;
use crate::world::World;

impl World {
    /// Notes which lives a plugin is to be shown.
    pub(crate) fn plan_reading(&mut self, plugin: &RegisteredPlugin, shown: &[String]) {
        let lives = self.scheduler.lifecycles();
        let with_life = shown.iter().map(|id| {
            let life = lives.life(&ObjectKey::container("", id.as_str()));
            (id.clone(), life)
        });
        if let Some(peer) = self.peers.get_mut(plugin) {
            peer.unread = with_life.collect();
        }
    }

    /// The plugin has been shown what was there when it was its turn. Some read everything at
    /// once, others when the plugin takes the last of it.
    pub(crate) fn leave_out(&mut self, plugin: &RegisteredPlugin) {
        let Some(peer) = self.peers.get_mut(plugin) else {
            return;
        };
        let unread = std::mem::take(&mut peer.unread);
        if plugin.registration % 2 == 0 {
            return;
        }
        let lives = self.scheduler.lifecycles();
        let left_out: Vec<String> = unread
            .into_iter()
            .filter(|(id, life)| {
                let now = lives.life(&ObjectKey::container("", id.as_str()));
                !self.store.contains_key(id) || (now.is_some() && now != *life)
            })
            .map(|(id, _)| id)
            .collect();
        let keys = left_out
            .iter()
            .map(|id| ObjectKey::container("", id.as_str()));
        self.scheduler.handle_left_out(plugin, &keys.collect());
        for id in left_out {
            self.count("left out");
            let Some(peer) = self.peers.get_mut(plugin) else {
                return;
            };
            peer.picture.remove(&id);
            // One that it knows from its creation may come to nothing, and that it hears of.
            if peer.met.get(&id) != Some(&Meeting::Created) {
                peer.strange.insert(id);
            }
        }
    }
}
