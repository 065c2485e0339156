//! Arrows between files, and the circles that they make.

use std::collections::{BTreeMap, BTreeSet};

/// Which file uses what of which.
#[derive(Default)]
pub(super) struct Graph {
    arrows: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Methods called on what is not known, that only one file defines: they do not count.
    uncertain: BTreeSet<(String, String, String)>,
}

/// Files that use each other in a circle.
pub(super) struct Circle {
    pub(super) modules: Vec<String>,
    /// Its arrows, a line each.
    pub(super) arrows: Vec<String>,
}

impl Graph {
    pub(super) fn add(&mut self, from: &str, to: &str, what: &str) {
        if from != to {
            let targets = self.arrows.entry(from.to_owned()).or_default();
            targets
                .entry(to.to_owned())
                .or_default()
                .insert(what.to_owned());
        }
    }

    pub(super) fn uncertain(&mut self, from: &str, to: &str, method: &str) {
        let names = [from, to, method].map(str::to_owned);
        self.uncertain.insert(names.into());
    }

    /// What may be arrows: from, to, the method.
    pub(super) fn all_uncertain(&self) -> impl Iterator<Item = &(String, String, String)> {
        self.uncertain.iter()
    }

    /// Every arrow: from, to, what is used.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str, String)> {
        self.arrows.iter().flat_map(|(from, targets)| {
            targets.iter().map(move |(to, what)| {
                let names: Vec<&str> = what.iter().map(String::as_str).collect();
                (from.as_str(), to.as_str(), names.join(", "))
            })
        })
    }

    /// The strongly connected parts of more than one file.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let mut left: BTreeSet<&str> = self.arrows.keys().map(String::as_str).collect();
        let mut circles = Vec::new();
        while let Some(start) = left.pop_first() {
            let reached = self.reached(start);
            let mut members: BTreeSet<&str> = reached
                .iter()
                .copied()
                .filter(|file| self.reached(file).contains(start))
                .collect();
            if members.is_empty() {
                continue;
            }
            members.insert(start);
            left.retain(|file| !members.contains(file));
            let arrows = self
                .all()
                .filter(|(from, to, _)| members.contains(from) && members.contains(to))
                .map(|(from, to, what)| format!("  {from} -> {to}: {what}"))
                .collect();
            let modules = members.into_iter().map(str::to_owned).collect();
            circles.push(Circle { modules, arrows });
        }
        circles
    }

    /// All that can be reached from a file, itself only over a circle.
    fn reached(&self, start: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut next = vec![start];
        while let Some(file) = next.pop() {
            for to in self.arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
                if found.insert(to.as_str()) {
                    next.push(to);
                }
            }
        }
        found
    }
}
