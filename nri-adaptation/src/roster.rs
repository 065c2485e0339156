//! Who takes part in which request, and which requests are under way: so that a plugin that joins misses nothing and hears
//! nothing twice.
//!
//! Every request takes the view of the moment in which it begins, and a [`Ticket`]. A plugin is admitted in one step: later
//! requests have it in their view (and wait for its turn), earlier ones do not (and are waited for before the plugin is shown
//! what exists).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nri_core::RegisteredPlugin;
use nri_core::flow::Roster;
use nri_core::lifecycle::ObjectKey;
use tokio::sync::Notify;

use crate::active::Active;
use crate::error::Error;

/// The plugins of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) roster: Roster,
    plugins: Arc<BTreeMap<RegisteredPlugin, Arc<Active>>>,
}

impl View {
    fn new(plugins: BTreeMap<RegisteredPlugin, Arc<Active>>) -> Self {
        let roster = Roster::new(plugins.values().map(|active| active.member()));
        Self {
            roster,
            plugins: Arc::new(plugins),
        }
    }

    pub(crate) fn get(&self, plugin: &RegisteredPlugin) -> Option<&Arc<Active>> {
        self.plugins.get(plugin)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Active>> {
        self.plugins.values()
    }

    /// The same with these plugins only.
    pub(crate) fn only(&self, plugins: &HashSet<RegisteredPlugin>) -> Self {
        let kept = self
            .plugins
            .iter()
            .filter(|(plugin, _)| plugins.contains(plugin));
        Self::new(
            kept.map(|(plugin, active)| (plugin.clone(), Arc::clone(active)))
                .collect(),
        )
    }
}

/// All plugins of an instance and all requests under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rosters(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A request was settled, or a block released.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    view: View,
    next: u64,
    open: BTreeMap<u64, Open>,
    blocks: usize,
    closed: bool,
}

/// A request under way.
#[derive(Debug)]
struct Open {
    /// The container that comes to be by it, if one does.
    creates: Option<ObjectKey>,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    rosters: Rosters,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.rosters.lock().open.remove(&self.number);
        self.rosters.0.changed.notify_waiters();
    }
}

/// While it lives, no plugin is admitted.
#[derive(Debug)]
pub(crate) struct Block(Rosters);

impl Drop for Block {
    fn drop(&mut self) {
        self.0.lock().blocks -= 1;
        self.0.0.changed.notify_waiters();
    }
}

/// A plugin's admission.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Requests before this number do not know the plugin.
    before: u64,
    /// The plugin of the same identity whose place it has taken.
    pub(crate) replaced: Option<Arc<Active>>,
}

impl Rosters {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No foreign code runs under the lock, so a poisoned one is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request. One about a container that was being created says that it exists: its creation is settled then,
    /// whatever its own ticket says.
    pub(crate) fn begin(&self, about: Option<&ObjectKey>) -> (View, Ticket) {
        self.open(about, false)
    }

    /// Begins the creation of a container.
    pub(crate) fn begin_creation(&self, container: &ObjectKey) -> (View, Ticket) {
        self.open(Some(container), true)
    }

    fn open(&self, about: Option<&ObjectKey>, creates: bool) -> (View, Ticket) {
        let mut state = self.lock();
        if let Some(key) = about {
            let before = state.open.len();
            state
                .open
                .retain(|_, open| open.creates.as_ref() != Some(key));
            if state.open.len() < before {
                self.0.changed.notify_waiters();
            }
        }
        let number = state.next;
        state.next += 1;
        let view = state.view.clone();
        state.open.insert(
            number,
            Open {
                creates: about.filter(|_| creates).cloned(),
            },
        );
        (
            view,
            Ticket {
                rosters: self.clone(),
                number,
            },
        )
    }

    /// Lets a plugin take part in all requests from now on. Waits while that is blocked.
    ///
    /// # Errors
    /// There are `most` others already, or the instance is stopped.
    pub(crate) async fn admit(
        &self,
        active: &Arc<Active>,
        most: usize,
    ) -> Result<Admitted, String> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(admitted) = self.try_admit(active, most)? {
                return Ok(admitted);
            }
            changed.await;
        }
    }

    fn try_admit(&self, active: &Arc<Active>, most: usize) -> Result<Option<Admitted>, String> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Stopped.to_string());
        }
        if state.blocks > 0 {
            return Ok(None);
        }
        let mut plugins = (*state.view.plugins).clone();
        let replaced = plugins
            .values()
            .find(|other| other.plugin.id == active.plugin.id)
            .cloned();
        if let Some(replaced) = &replaced {
            if replaced.is_built_in() {
                return Err(format!("plugin {} is part of the runtime", active.plugin));
            }
            plugins.remove(&replaced.plugin);
            active.set_predecessor(Some(Arc::clone(replaced)));
        }
        if plugins.len() >= most {
            return Err(format!(
                "there are {most} plugins already; raise `max_plugins`"
            ));
        }
        plugins.insert(active.plugin.clone(), Arc::clone(active));
        state.view = View::new(plugins);
        Ok(Some(Admitted {
            before: state.next,
            replaced,
        }))
    }

    /// Waits until no request from before an admission is under way.
    pub(crate) async fn settled(&self, admitted: &Admitted) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let oldest = self
                .lock()
                .open
                .first_key_value()
                .map(|(number, _)| *number);
            if oldest.is_none_or(|oldest| oldest >= admitted.before) {
                return;
            }
            changed.await;
        }
    }

    /// Takes a plugin out of all later requests. A plugin whose place it had taken, and that is still there, gets it back.
    pub(crate) fn leave(&self, active: &Active) {
        let mut state = self.lock();
        let mut plugins = (*state.view.plugins).clone();
        if plugins.remove(&active.plugin).is_none() {
            return;
        }
        if let Some(predecessor) = active.stand_in().filter(|p| p.close_reason().is_none()) {
            plugins.insert(predecessor.plugin.clone(), predecessor);
        }
        state.view = View::new(plugins);
    }

    /// The plugins of now.
    pub(crate) fn view(&self) -> View {
        self.lock().view.clone()
    }

    /// Admits nobody while the guard lives.
    pub(crate) fn block(&self) -> Block {
        self.lock().blocks += 1;
        Block(self.clone())
    }

    /// Takes all plugins out and admits none any more.
    pub(crate) fn close(&self) -> View {
        let mut state = self.lock();
        state.closed = true;
        let view = std::mem::take(&mut state.view);
        drop(state);
        self.0.changed.notify_waiters();
        view
    }
}
