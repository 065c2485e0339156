//! Layers inside a crate: which folders and files may use which, and where a type's methods stand.

use syn::{Item, Type};

use super::parse::{Module, is_test};

/// The layers of a crate, from the ground. An entry is a folder (`engine/`) or a file (`clock.rs`),
/// and uses only itself and entries of the layers below.
pub(super) struct Layers {
    pub(super) name: &'static str,
    pub(super) layers: &'static [&'static [&'static str]],
    /// Types whose `impl` blocks stand in one folder only.
    pub(super) homes: &'static [(&'static str, &'static str)],
}

/// The crates that have layers.
pub(super) const ALL: &[Layers] = &[Layers {
    name: "nri-adaptation",
    layers: &[
        &[
            "clock.rs",
            "duration.rs",
            "lock.rs",
            "manual/",
            "tasks.rs",
            "text.rs",
        ],
        &["pending.rs", "solo/", "way/"],
        &["config/", "rate.rs"],
        &["error.rs"],
        &["telemetry/"],
        &["plugin/", "shared.rs"],
        &["engine/"],
        &["session/"],
        &["launch/", "listen/"],
        &["instance/"],
        &["nri.rs"],
        &["blocking.rs", "builder.rs", "relaying.rs"],
        &["lib.rs"],
    ],
    homes: &[("Engine", "engine/"), ("Instance", "instance/")],
}];

impl Layers {
    /// What breaks them among these arrows: from which file, to which file, what is used.
    pub(super) fn broken<'g>(
        &self,
        arrows: impl Iterator<Item = (&'g str, &'g str, String)>,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        for (from, to, what) in arrows {
            let (Some(user), Some(used)) = (self.find(from), self.find(to)) else {
                continue;
            };
            let way = match user.cmp(&used) {
                _ if user == used => continue,
                _ if user.0 > used.0 => continue,
                _ if user.0 == used.0 => "sideways",
                _ => "upward",
            };
            broken.push(format!(
                "  {from} -> {to} goes {way}: move {what} below both, hand it in as a parameter, or return what \
                 came of it instead of calling back"
            ));
        }
        broken
    }

    /// Files that stand in no layer, and `impl` blocks that are not at home.
    pub(super) fn misplaced(&self, modules: &[Module]) -> Vec<String> {
        let mut misplaced = Vec::new();
        for module in modules {
            let file = &module.file;
            if self.find(file).is_none() {
                misplaced.push(format!(
                    "  {file} stands in no layer: put it into a folder, or name it in dev/circles/src/layers.rs"
                ));
            }
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                let Type::Path(path) = &*block.self_ty else {
                    continue;
                };
                let name = path.path.segments.last().map(|last| last.ident.to_string());
                let home = self
                    .homes
                    .iter()
                    .find(|(typed, _)| name.as_deref() == Some(typed));
                if let Some((typed, home)) = home
                    && !file.starts_with(home)
                    && !is_test(&block.attrs)
                {
                    misplaced.push(format!(
                        "  {file} has an `impl {typed}`: move it to {home}, or make it a function of what it needs"
                    ));
                }
            }
        }
        misplaced
    }

    /// The layer, and the entry in it, that a file stands in.
    fn find(&self, file: &str) -> Option<(usize, usize)> {
        let stands = |entry: &str| match entry.ends_with('/') {
            true => file.starts_with(entry),
            false => file == entry,
        };
        let layers = self.layers.iter().enumerate();
        layers
            .filter_map(|(at, layer)| Some((at, layer.iter().position(|entry| stands(entry))?)))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers = Layers {
        name: "a-crate",
        layers: &[&["ground.rs"], &["left/", "right/"], &["top.rs"]],
        homes: &[("Engine", "left/")],
    };

    fn broken(from: &str, to: &str) -> Vec<String> {
        LAYERS.broken(std::iter::once((from, to, "Thing".to_owned())))
    }

    #[test]
    fn arrows_go_down_or_stay_in_their_folder() {
        assert!(broken("top.rs", "left/a.rs").is_empty());
        assert!(broken("left/a.rs", "ground.rs").is_empty());
        assert!(broken("left/a.rs", "left/b.rs").is_empty());
    }

    #[test]
    fn arrows_upward_and_sideways_are_errors_that_say_what_to_do() {
        let [upward] = &broken("left/a.rs", "top.rs")[..] else {
            panic!("it goes upward");
        };
        assert!(upward.contains("left/a.rs -> top.rs goes upward: move Thing below both"));
        assert!(broken("left/a.rs", "right/b.rs")[0].contains("goes sideways"));
        assert_eq!(broken("ground.rs", "right/b.rs").len(), 1);
    }

    #[test]
    fn methods_stand_at_home_and_files_in_a_layer() {
        let module = |file: &str, text: &str| Module {
            path: Vec::new(),
            file: file.to_owned(),
            items: syn::parse_file(text).unwrap().items,
        };
        let at_home = module("left/a.rs", "impl Engine {}");
        let elsewhere = module("right/b.rs", "impl Clone for super::Engine {}");
        let nowhere = module("other.rs", "");
        let told = LAYERS.misplaced(&[at_home, elsewhere, nowhere]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("right/b.rs has an `impl Engine`: move it to left/"));
        assert!(told[1].contains("other.rs stands in no layer"));
    }
}
