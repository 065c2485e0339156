//! The places of connections that are not plugins yet: there are so many, and when all are taken,
//! somebody gives way.
//!
//! A connection has a place from when it is accepted until its plugin is admitted or it is closed.
//! Nobody waits for a place: whoever comes gets one at once, and of those who have one, the one
//! goes that has shown least. So peers that say nothing keep nobody out, however many they are.
//!
//! What may not enter: sockets, what is said on them, the clock.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use tokio::sync::oneshot;

/// Whose connection it is, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) pid: Option<i32>,
}

/// How far a connection is. Those that are less far give way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has said nothing.
    Silent,
    /// It has said something, and not who it is.
    Speaking,
    /// It has said who it is, and is not admitted yet.
    Registered,
}

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Lock<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// By the order in which they were accepted.
    by_number: BTreeMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    owner: Owner,
    stage: Stage,
    /// Told when it has to give way.
    give_way: oneshot::Sender<()>,
}

/// A place. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
}

/// Resolves when a connection has to give way to another one.
pub(crate) type GivesWay = oneshot::Receiver<()>;

/// The most connections that may be there and are not admitted: as many as there may be plugins by
/// default, so that all of them can come at once.
const MOST_UNADMITTED: usize = 256;
/// How many descriptors of this process there are for each of these connections.
const SHARE: u64 = 4;
/// So many places there are in any case.
const FEWEST: usize = 8;

/// How many connections may be there that are not admitted, by how many descriptors this process
/// may have.
pub(crate) fn most_unadmitted() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    within(limit)
}

fn within(descriptors: Option<u64>) -> usize {
    let share = descriptors.map_or(u64::MAX, |descriptors| descriptors / SHARE);
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    share.clamp(FEWEST, MOST_UNADMITTED)
}

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            taken: Lock::default(),
        })
    }

    /// How many there are.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }

    /// A place for a connection, for which another one gives way if there is none.
    pub(crate) fn enter(self: &Arc<Self>, owner: Owner) -> (Place, GivesWay) {
        let (give_way, gives_way) = oneshot::channel();
        let mut taken = self.lock();
        while taken.by_number.len() >= self.most {
            if !taken.one_gives_way(Some(owner)) {
                break;
            }
        }
        let number = taken.next;
        taken.next += 1;
        let holder = Holder {
            owner,
            stage: Stage::Silent,
            give_way,
        };
        taken.by_number.insert(number, holder);
        drop(taken);
        let place = Place {
            places: Arc::clone(self),
            number,
        };
        (place, gives_way)
    }

    /// Has one of those that are not registered give way, since something else is short. Whether
    /// there is one.
    pub(crate) fn make_room(&self) -> bool {
        let mut taken = self.lock();
        let unregistered = |holder: &Holder| holder.stage < Stage::Registered;
        taken.by_number.values().any(unregistered) && taken.one_gives_way(None)
    }
}

impl Taken {
    /// Has one give way: of those that are least far, one of the user with most places; of that
    /// user's, one of the process with most; of these, the one that has waited longest.
    /// `newcomer` counts as one more of its user and process.
    ///
    /// So a user that has more than half of the places makes room before any other has to, and a
    /// process of it likewise.
    fn one_gives_way(&mut self, newcomer: Option<Owner>) -> bool {
        let mut of_users = BTreeMap::<_, usize>::new();
        let mut of_processes = BTreeMap::<_, usize>::new();
        let owners = self.by_number.values().map(|holder| holder.owner);
        for Owner { uid, pid } in owners.chain(newcomer) {
            *of_users.entry(uid).or_default() += 1;
            *of_processes.entry((uid, pid)).or_default() += 1;
        }
        // Being registered counts for more than whose it is; having said a byte does not.
        let first = self.by_number.iter().min_by_key(|(number, holder)| {
            let Owner { uid, pid } = holder.owner;
            (
                holder.stage == Stage::Registered,
                Reverse(of_users.get(&uid)),
                Reverse(of_processes.get(&(uid, pid))),
                holder.stage,
                **number,
            )
        });
        let Some(number) = first.map(|(number, _)| *number) else {
            return false;
        };
        if let Some(holder) = self.by_number.remove(&number) {
            // Whoever it was may be gone.
            let _ = holder.give_way.send(());
        }
        true
    }
}

impl Place {
    /// Takes note that the connection is further. One that has given way already is not.
    pub(crate) fn advance(&self, to: Stage) {
        if let Some(holder) = self.places.lock().by_number.get_mut(&self.number) {
            holder.stage = holder.stage.max(to);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().by_number.remove(&self.number);
    }
}
use crate::lock::Lock;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, pid: i32) -> Owner {
        let pid = Some(pid);
        Owner { uid, pid }
    }

    /// Connections in the order of their coming.
    struct Crowd {
        places: Arc<Places>,
        all: Vec<(Place, GivesWay)>,
    }

    impl Crowd {
        fn of(most: usize) -> Self {
            Self {
                places: Places::new(most),
                all: Vec::new(),
            }
        }

        fn enter(&mut self, owner: Owner) -> usize {
            self.all.push(self.places.enter(owner));
            self.all.len() - 1
        }

        /// Those who have given way.
        fn gone(&mut self) -> Vec<usize> {
            let all = self.all.iter_mut().enumerate();
            all.filter_map(|(at, (_, gone))| gone.try_recv().is_ok().then_some(at))
                .collect()
        }

        fn advance(&mut self, at: usize, to: Stage) {
            self.all[at].0.advance(to);
        }
    }

    #[test]
    fn everybody_gets_a_place_and_the_longest_silent_gives_way() {
        let mut crowd = Crowd::of(3);
        for _ in 0..3 {
            crowd.enter(peer(0, 1));
        }
        assert_eq!(crowd.gone(), [0; 0]);
        crowd.advance(0, Stage::Speaking);
        crowd.enter(peer(0, 1));
        assert_eq!(crowd.gone(), [1]);
        crowd.enter(peer(0, 1));
        assert_eq!(crowd.gone(), [2]);
        // A place that was given back is free.
        drop(crowd.all.pop());
        crowd.enter(peer(0, 1));
        assert_eq!(crowd.gone(), [0; 0]);
    }

    #[test]
    fn a_registered_one_keeps_its_place_as_long_as_there_is_another() {
        let mut crowd = Crowd::of(3);
        let registered = crowd.enter(peer(0, 1));
        crowd.advance(registered, Stage::Registered);
        for _ in 0..10_000 {
            crowd.enter(peer(0, 1));
        }
        assert!(!crowd.gone().contains(&registered));
        // If nobody but those is there, the one gives way that has not been configured for the
        // longest time.
        let mut crowd = Crowd::of(3);
        for at in 0..4 {
            crowd.enter(peer(0, 1));
            crowd.advance(at, Stage::Registered);
        }
        assert_eq!(crowd.gone(), [0]);
    }

    #[test]
    fn a_user_has_half_of_the_places_at_most_while_another_asks() {
        let mut crowd = Crowd::of(10);
        for _ in 0..10 {
            crowd.enter(peer(1, 1));
        }
        for _ in 0..5 {
            crowd.enter(peer(2, 2));
        }
        assert_eq!(crowd.gone(), [0, 1, 2, 3, 4]);
        // From now on each gives way to its own.
        for _ in 0..100 {
            crowd.enter(peer(1, 1));
        }
        assert!(crowd.gone().iter().all(|at| !(10..15).contains(at)));
        crowd.enter(peer(2, 2));
        assert_eq!(crowd.gone(), [10]);
    }

    #[test]
    fn of_one_user_the_process_with_most_places_gives_way() {
        let mut crowd = Crowd::of(10);
        let good = crowd.enter(peer(0, 7));
        for _ in 0..10_000 {
            crowd.enter(peer(0, 1));
        }
        assert!(!crowd.gone().contains(&good));
    }

    #[test]
    fn room_is_made_for_other_things_but_not_by_the_registered() {
        let mut crowd = Crowd::of(10);
        assert!(!crowd.places.make_room());
        crowd.enter(peer(0, 1));
        crowd.enter(peer(0, 1));
        crowd.advance(0, Stage::Registered);
        assert!(crowd.places.make_room());
        assert!(!crowd.places.make_room());
        assert_eq!(crowd.gone(), [1]);
    }

    #[test]
    fn most_descriptors_are_left_for_the_runtime() {
        assert_eq!(within(None), 256);
        assert_eq!(within(Some(1 << 20)), 256);
        assert_eq!(within(Some(256)), 64);
        assert_eq!(within(Some(64)), 16);
        assert_eq!(within(Some(0)), 8);
    }
}
