//! Who may connect, and as which plugin. Pure: the kernel's word about the peer and the
//! configuration in, yes or no out.

use nri_core::PluginId;

use crate::config::Config;
use crate::plugin::credentials::Credentials;

/// Whether a peer may be any plugin that is not bound to users. `us` is our own user.
fn is_listed(config: &Config, peer: &Credentials, us: u32) -> bool {
    let by_default = config.allowed_uids.is_empty() && (peer.uid == us || peer.uid == 0);
    by_default || config.allowed_uids.contains(&peer.uid) || config.allowed_gids.contains(&peer.gid)
}

/// Whether a peer may connect: it may be any plugin, or there is a name that is bound to its user.
pub(crate) fn may_connect(config: &Config, peer: &Credentials, us: u32) -> bool {
    let mut bound = config
        .plugins
        .values()
        .filter_map(|p| p.allowed_uids.as_ref());
    is_listed(config, peer, us) || bound.any(|uids| uids.contains(&peer.uid))
}

/// Whether a peer may be this plugin. A name that is bound to users is theirs alone.
pub(crate) fn may_register_as(
    config: &Config,
    plugin: &PluginId,
    peer: &Credentials,
    us: u32,
) -> bool {
    match config.plugin(plugin).allowed_uids {
        Some(uids) => uids.contains(&peer.uid),
        None => is_listed(config, peer, us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 7;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    fn peer(uid: u32, gid: u32) -> Credentials {
        let pid = None;
        Credentials { pid, uid, gid }
    }

    /// The users among some that may connect, with a group that means nothing.
    fn connect(text: &str) -> Vec<u32> {
        let config = config(text);
        let users = [0, US, 8, 9];
        let may = |uid: &u32| may_connect(&config, &peer(*uid, 99), US);
        users.into_iter().filter(may).collect()
    }

    fn be(text: &str, plugin: &str) -> Vec<u32> {
        let (config, plugin) = (config(text), plugin.parse().unwrap());
        let users = [0, US, 8, 9];
        let may = |uid: &u32| may_register_as(&config, &plugin, &peer(*uid, 99), US);
        users.into_iter().filter(may).collect()
    }

    #[test]
    fn without_lists_it_is_us_and_root() {
        assert_eq!(connect(""), [0, US]);
        assert_eq!(be("", "10-a"), [0, US]);
    }

    #[test]
    fn a_list_of_users_is_all_there_is() {
        assert_eq!(connect("allowed_uids = [8]"), [8]);
        assert_eq!(connect("allowed_uids = [8, 0]"), [0, 8]);
    }

    #[test]
    fn groups_come_beside_users() {
        let config = config("allowed_gids = [50]");
        assert!(may_connect(&config, &peer(8, 50), US));
        assert!(!may_connect(&config, &peer(8, 51), US));
        assert!(may_connect(&config, &peer(US, 51), US));
        assert!(may_register_as(
            &config,
            &"10-a".parse().unwrap(),
            &peer(8, 50),
            US
        ));
        assert_eq!(connect("allowed_uids = [9]\nallowed_gids = [50]"), [9]);
    }

    #[test]
    fn a_name_that_is_bound_is_for_its_users_alone() {
        let text = "[plugins.policy]\nallowed_uids = [9]";
        // User 9 may connect for the sake of that name only.
        assert_eq!(connect(text), [0, US, 9]);
        assert_eq!(be(text, "10-policy"), [9]);
        assert_eq!(be(text, "10-other"), [0, US]);
        // What is said of an identity goes before what is said of its name.
        let text = "[plugins.policy]\nallowed_uids = [9]\n[plugins.20-policy]\nallowed_uids = [8]";
        assert_eq!(
            (be(text, "10-policy"), be(text, "20-policy")),
            (vec![9], vec![8])
        );
        assert_eq!(
            be("[plugins.policy]\nallowed_uids = []", "10-policy"),
            [0; 0]
        );
    }
}
