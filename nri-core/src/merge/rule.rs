//! What a kind of field has to know: the trait that every kind implements, and the macro that makes
//! a group of fields out of a table.

use nri_proto::api::Field;

use super::error::Clash;
use super::owners::ContainerOwners;
use super::sieve::Sieve;
use crate::PluginId;

/// The rule of one field: its value is what the plugins of a request have asked for so far, with
/// its owners.
///
/// `Field::None` as an argument means that the protocol gives the field no number, hence no owner.
pub(super) trait Rule: Default + Clone {
    /// What a response holds at the field's place.
    type Asked: Default + Clone;
    /// What a container holds there.
    type Shown: Default + Clone;

    /// Whether the value is made of entries with keys.
    const HAS_KEYS: bool = false;

    /// The numbers that the rule looks after, of which `field` is the one in the table, and whether
    /// each has entries with keys.
    fn fields(field: Field) -> Vec<(Field, bool)> {
        vec![(field, Self::HAS_KEYS)]
    }

    /// Whether a response asks for anything here.
    fn asks(asked: &Self::Asked) -> bool;

    /// Whether the response can be taken in.
    ///
    /// # Errors
    /// The first clash.
    fn check(&self, field: Field, asked: &Self::Asked) -> Result<(), Clash>;

    /// Whether [`note`](Self::note) looks for anything where this is asked for.
    fn looks(_asked: &Self::Asked) -> bool {
        false
    }

    /// Looks, in the view before a checked response is taken in, for other spellings of the keys
    /// that it asks for: what the original has under another spelling, the combined value has
    /// to name as well, for whoever compares texts.
    fn note(&mut self, _asked: &Self::Asked, _view: &Self::Shown) {}

    /// Takes a checked response in, and brings the view up to date: what the original becomes with
    /// everything so far. The view is the same in all calls, and the original in the first.
    /// There is none where nobody looks any more; then there is none in later calls either.
    fn take(&mut self, asked: Self::Asked, plugin: &PluginId, view: Option<&mut Self::Shown>);

    /// Makes the view the original again. To be called once, after the last response that was taken
    /// in with the view.
    fn restore(&mut self, view: &mut Self::Shown);

    /// The combined value, as one plugin could have asked for it; the owners go into `owners`.
    fn finish(self, field: Field, owners: &mut ContainerOwners) -> Self::Asked;

    /// Does to a container what is asked for: removals first, then sets.
    fn apply(asked: &Self::Asked, shown: &mut Self::Shown);

    /// Rewrites a request to its normal form: another way to ask for the same.
    fn normalise(_asked: &mut Self::Asked) {}

    /// Puts lists whose order means nothing for a comparison in order of their keys.
    fn sort(_asked: &mut Self::Asked) {}

    /// Drops removals of what the container does not have.
    fn prune(_asked: &mut Self::Asked, _shown: Option<&Self::Shown>) {}

    /// Shows a sieve each item that is asked for, and takes out what does not stay: of lists and
    /// maps single entries, otherwise the value.
    fn sift<S: Sieve>(field: Field, asked: &mut Self::Asked, sieve: &mut S) {
        if Self::asks(asked) && !sieve.keeps(field, None) {
            *asked = Self::Asked::default();
        }
    }
}

/// A group of fields that share a message. Made by [`group!`] from a table; every method does to
/// all fields of the table what the method of that name of [`Rule`] does to one.
pub(super) trait Group: Default + Clone {
    /// The message in a response.
    type Asked: Default + Clone;
    /// The message in a container.
    type Shown: Default + Clone + PartialEq;

    fn fields() -> Vec<(Field, bool)>;
    fn asks(asked: &Self::Asked) -> bool;
    fn check(&self, asked: &Self::Asked) -> Result<(), Clash>;
    fn looks(asked: &Self::Asked) -> bool;
    fn note(&mut self, asked: &Self::Asked, view: &Self::Shown);
    fn take(&mut self, asked: Self::Asked, plugin: &PluginId, view: Option<&mut Self::Shown>);
    fn restore(&mut self, view: &mut Self::Shown);
    fn finish(self, owners: &mut ContainerOwners) -> Self::Asked;
    fn apply(asked: &Self::Asked, shown: &mut Self::Shown);
    fn normalise(asked: &mut Self::Asked);
    fn sort(asked: &mut Self::Asked);
    fn prune(asked: &mut Self::Asked, shown: Option<&Self::Shown>);
    fn sift<S: Sieve>(asked: &mut Self::Asked, sieve: &mut S);
}

/// A group as a row of another group's table: its message is an optional part of the other's.
#[derive(Debug, Clone, Default)]
pub(super) struct Nested<G> {
    group: G,
    /// Whether anything has been taken in.
    asked: bool,
    /// Whether the original lacks the message, once something has been shown.
    absent: Option<bool>,
}

/// Takes away a message that was not there and has nothing in it.
fn drop_empty<M: Default + PartialEq>(was_absent: bool, shown: &mut Option<M>) {
    if was_absent {
        shown.take_if(|shown| *shown == M::default());
    }
}

impl<G: Group> Rule for Nested<G> {
    type Asked = Option<G::Asked>;
    type Shown = Option<G::Shown>;

    fn fields(_field: Field) -> Vec<(Field, bool)> {
        G::fields()
    }

    fn asks(asked: &Self::Asked) -> bool {
        asked.as_ref().is_some_and(G::asks)
    }

    fn check(&self, _field: Field, asked: &Self::Asked) -> Result<(), Clash> {
        asked
            .as_ref()
            .map_or(Ok(()), |asked| self.group.check(asked))
    }

    fn looks(asked: &Self::Asked) -> bool {
        asked.as_ref().is_some_and(G::looks)
    }

    fn note(&mut self, asked: &Self::Asked, view: &Self::Shown) {
        if let (Some(asked), Some(view)) = (asked, view) {
            self.group.note(asked, view);
        }
    }

    fn take(&mut self, asked: Self::Asked, plugin: &PluginId, view: Option<&mut Self::Shown>) {
        let Some(asked) = asked else { return };
        self.asked = true;
        match view {
            Some(view) => {
                let absent = *self.absent.get_or_insert(view.is_none());
                self.group
                    .take(asked, plugin, Some(view.get_or_insert_default()));
                drop_empty(absent, view);
            }
            None => self.group.take(asked, plugin, None),
        }
    }

    fn restore(&mut self, view: &mut Self::Shown) {
        match (self.absent, view) {
            (Some(true), view) => *view = None,
            (Some(false), Some(view)) => self.group.restore(view),
            _ => {}
        }
    }

    fn finish(self, _field: Field, owners: &mut ContainerOwners) -> Self::Asked {
        self.asked.then(|| self.group.finish(owners))
    }

    fn apply(asked: &Self::Asked, shown: &mut Self::Shown) {
        if let Some(asked) = asked {
            let absent = shown.is_none();
            G::apply(asked, shown.get_or_insert_default());
            drop_empty(absent, shown);
        }
    }

    fn normalise(asked: &mut Self::Asked) {
        if let Some(asked) = asked {
            G::normalise(asked);
        }
    }

    fn sort(asked: &mut Self::Asked) {
        if let Some(asked) = asked {
            G::sort(asked);
        }
    }

    fn prune(asked: &mut Self::Asked, shown: Option<&Self::Shown>) {
        if let Some(asked) = asked {
            G::prune(asked, shown.and_then(Option::as_ref));
        }
    }

    fn sift<S: Sieve>(_field: Field, asked: &mut Self::Asked, sieve: &mut S) {
        if let Some(asked) = asked {
            G::sift(asked, sieve);
        }
    }
}

/// The place of a field in a container; some fields have none, and then what is written there is
/// forgotten.
macro_rules! shown {
    ([] $message:ident . $place:ident) => {
        &mut $message.$place
    };
    ([hidden] $message:ident . $place:ident) => {
        &mut Default::default()
    };
}

/// Like `shown!`, if anybody looks.
macro_rules! shown_to {
    ([] $message:ident . $place:ident) => {
        $message.as_deref_mut().map(|message| &mut message.$place)
    };
    ([hidden] $message:ident . $place:ident) => {
        None
    };
}

/// Like `shown!`, only to look, and if there is a container at all.
macro_rules! looked_at {
    ([] $message:ident . $place:ident) => {
        $message.map(|message| &message.$place)
    };
    ([hidden] $message:ident . $place:ident) => {
        None
    };
}

/// Looks for spellings at a field's place, if there is one.
macro_rules! note {
    ([] $rule:expr, $asked:expr, $message:ident . $place:ident) => {
        $rule.note($asked, &$message.$place)
    };
    ([hidden] $rule:expr, $asked:expr, $message:ident . $place:ident) => {};
}

/// Makes a [`Group`] of a table. A row reads
///
/// `place: rule = number in the protocol;`
///
/// where the place is the name of the field in the message that is asked for and in the message
/// that is shown, unless `[hidden]` says that a container has no such place. The order of the rows
/// is the order in which fields are examined, so it decides which conflict is reported first.
macro_rules! group {
    (
        $(#[$meta:meta])*
        $vis:vis struct $group:ident: $asked:ty => $shown:ty {
            $( $place:ident: $rule:ty = $field:ident $([$hidden:ident])?; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        $vis struct $group { $( $place: $rule, )+ }

        impl Group for $group {
            type Asked = $asked;
            type Shown = $shown;

            fn fields() -> Vec<(Field, bool)> {
                [$( <$rule>::fields(Field::$field) ),+].concat()
            }

            fn asks(asked: &Self::Asked) -> bool {
                $( <$rule>::asks(&asked.$place) )||+
            }

            fn check(&self, asked: &Self::Asked) -> Result<(), Clash> {
                $( self.$place.check(Field::$field, &asked.$place)?; )+
                Ok(())
            }

            fn looks(asked: &Self::Asked) -> bool {
                $( <$rule>::looks(&asked.$place) )||+
            }

            fn note(&mut self, asked: &Self::Asked, view: &Self::Shown) {
                $( if <$rule>::asks(&asked.$place) {
                    note!([$($hidden)?] self.$place, &asked.$place, view.$place);
                } )+
            }

            fn take(
                &mut self,
                asked: Self::Asked,
                plugin: &PluginId,
                mut view: Option<&mut Self::Shown>,
            ) {
                $( if <$rule>::asks(&asked.$place) {
                    self.$place.take(asked.$place, plugin, shown_to!([$($hidden)?] view.$place));
                } )+
            }

            fn restore(&mut self, view: &mut Self::Shown) {
                $( self.$place.restore(shown!([$($hidden)?] view.$place)); )+
            }

            fn finish(self, owners: &mut ContainerOwners) -> Self::Asked {
                let mut asked = Self::Asked::default();
                $( let value = self.$place.finish(Field::$field, owners);
                if <$rule>::asks(&value) {
                    asked.$place = value;
                } )+
                asked
            }

            fn apply(asked: &Self::Asked, shown: &mut Self::Shown) {
                $( if <$rule>::asks(&asked.$place) {
                    <$rule>::apply(&asked.$place, shown!([$($hidden)?] shown.$place));
                } )+
            }

            fn normalise(asked: &mut Self::Asked) {
                $( <$rule>::normalise(&mut asked.$place); )+
            }

            fn sort(asked: &mut Self::Asked) {
                $( <$rule>::sort(&mut asked.$place); )+
            }

            fn prune(asked: &mut Self::Asked, shown: Option<&Self::Shown>) {
                $( <$rule>::prune(&mut asked.$place, looked_at!([$($hidden)?] shown.$place)); )+
            }

            fn sift<S: Sieve>(asked: &mut Self::Asked, sieve: &mut S) {
                $( <$rule>::sift(Field::$field, &mut asked.$place, sieve); )+
            }
        }
    };
}
