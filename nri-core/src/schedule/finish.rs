//! How a request ends: what is reported, and what becomes of a creation that came to nothing.
//!
//! What may not enter: turns and lateness, which are those of requests on their way.

use super::active::{Active, Stage, correct};
use super::instance::Instance;
use super::state::Work;
use super::{Effect, Job, RequestId, Scheduler, Submission};
use crate::flow::Flow as _;
use crate::lifecycle::Due;
use crate::model::State;
use crate::{Error, Event, RegisteredPlugin, Settlement};

impl<J: Job> Scheduler<J> {
    /// A request is through the plugins, or ends with an error of another kind than theirs.
    pub(super) fn finish(&mut self, id: RequestId, ended_by: Option<Error>) {
        self.forget_deadline(id);
        let Some(mut active) = self.requests.remove(&id) else {
            return;
        };
        let Stage::Running(running) = std::mem::replace(&mut active.stage, Stage::Queued) else {
            return;
        };
        let told = match active.observers.is_empty() {
            true => None,
            false => running.flow.observed(),
        };
        let mut report = running.flow.finish();
        let records = running.records;
        correct(&mut report.outcomes, &records);
        let took_place = !matches!(ended_by, Some(Error::Lifecycle(_)));
        let refused = active.began > 0 && took_place;
        if let Some(error) = ended_by {
            report.result = Err(error);
        }
        let begins = active.event == Event::RunPodSandbox && !active.restarts;
        if begins && refused && report.result.is_err() {
            // The runtime tells of its end: to those that heard of it, and to those that want to
            // hear of ends alone. One that was to run again is known to all.
            let heard = |plugin: &RegisteredPlugin| {
                let mut handed = records.iter().filter(|record| record.handed);
                handed.any(|record| record.actual == *plugin)
            };
            for (plugin, instance) in &mut self.plugins {
                let wants = instance.member.events.contains(Event::RunPodSandbox);
                if wants && !heard(plugin) {
                    instance.strange.insert(active.object.clone());
                }
            }
        }
        let is_creation = active.event == Event::CreateContainer;
        let unsettled = is_creation && report.result.is_ok();
        let happened = report.result.is_ok() || (took_place && active.event.is_notification());
        let told = told.filter(|_| happened);
        self.effects.push_back(Effect::Finished {
            request: id,
            report,
            unsettled,
            undoes: active.undoes.as_ref().map(|(creation, _)| *creation),
        });
        self.tell_observers(id, &mut active, told);
        if active.event.is_end() && self.lives.state(&active.object) == State::Removed {
            self.no_longer_strange(&active.object);
        }
        self.slots.leave(&active.pod, id);
        self.work.push_back(Work::Slot(active.pod.clone()));
        active.stage = Stage::Unsettled(records);
        if unsettled {
            if let Some(birth) = &mut active.birth {
                self.lives.asked(birth);
            }
            self.unsettled.insert(active.object.clone(), id);
            self.requests.insert(id, active);
            self.work.push_back(Work::Phases);
            return;
        }
        self.come_to_nothing(id, active);
        self.no_longer_before(id);
    }

    /// Ends the wait for what becomes of a creation.
    pub(super) fn settle(&mut self, id: RequestId, settlement: Settlement) {
        let Some(active) = self.requests.get(&id) else {
            return;
        };
        if !matches!(active.stage, Stage::Unsettled(_)) {
            return;
        }
        if let Some(mut active) = self.requests.remove(&id) {
            if self.unsettled.get(&active.object) == Some(&id) {
                self.unsettled.remove(&active.object);
            }
            match (settlement, active.birth.take()) {
                (Settlement::Committed, Some(birth)) => {
                    // Nothing is due of what exists.
                    let _ = self.lives.settle(birth, settlement);
                    self.release(&mut active);
                }
                (Settlement::Abandoned, birth) => {
                    active.birth = birth;
                    self.come_to_nothing(id, active);
                }
                (Settlement::Committed, None) => {}
            }
        }
        self.no_longer_before(id);
    }

    /// Ends the life that a creation began, if this is one.
    fn come_to_nothing(&mut self, id: RequestId, mut active: Box<Active<J>>) {
        if let Some(birth) = active.birth.take() {
            let due = self.lives.settle(birth, Settlement::Abandoned);
            self.undo(id, &active, due);
        }
    }

    /// Takes a creation back towards the plugins that saw it, before anything else happens to the
    /// pod.
    fn undo(&mut self, creation: RequestId, active: &Active<J>, due: Due) {
        let knows = |instance: &&Instance| !instance.strange.contains(&active.object);
        let seen: Vec<RegisteredPlugin> = match active.exists {
            // Those that joined since were shown it.
            true => self
                .plugins
                .values()
                .filter(knows)
                .map(|instance| instance.member.plugin.clone())
                .collect(),
            false => active
                .seen_by()
                .filter(|plugin| self.plugins.contains_key(*plugin))
                .cloned()
                .collect(),
        };
        if seen.is_empty() || due == Due::Nothing {
            return;
        }
        let mut ids = Vec::new();
        for job in active.job.undo() {
            if due == Due::Event && job.event() == Event::StopContainer {
                continue;
            }
            let id = RequestId(self.next_number());
            let order =
                Submission::new(job, active.pod.clone()).with_container(active.object.clone());
            let mut undoing = Active::new(order, None);
            undoing.undoes = Some((creation, seen.clone()));
            self.requests.insert(id, Box::new(undoing));
            ids.push(id);
        }
        self.slots.put_ahead(&active.pod, ids);
        self.work.push_back(Work::Slot(active.pod.clone()));
    }
}
