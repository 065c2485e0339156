//! Updates and stops: what each plugin sees, what is merged, and who judges it.

use super::*;

#[test]
fn an_update_shows_each_plugin_the_resources_as_changed_so_far() {
    let mut requested = api::LinuxResources::default();
    requested.set_memory_limit(1);
    let request = api::UpdateContainerRequest {
        container: Some(container()),
        linux_resources: Some(requested.clone()),
        ..Default::default()
    };
    let members = [member("10-a"), member("20-b"), member("30-c")];
    let (calls, report) = drive(UpdateFlow::new(&roster(members), request), |call| {
        if call.plugin == plugin("20-b") {
            Reply::Answer(Response::UpdateContainer(api::UpdateContainerResponse {
                update: vec![shares("other", 1), shares("c1", 7)],
                evict: vec![],
            }))
        } else {
            nothing(call)
        }
    });
    let seen = |call: &Call| match &**call.request {
        Request::UpdateContainer(request) => request.linux_resources.clone().unwrap(),
        _ => panic!("not an update"),
    };
    assert_eq!(seen(&calls[1]), requested);
    let mut changed = requested;
    changed.set_cpu_shares(7);
    assert_eq!(seen(&calls[2]), changed);
    let outcome = report.result.unwrap();
    assert_eq!(outcome.updates.len(), 1);
    let resources = outcome.requested.unwrap().update.linux.unwrap().resources;
    assert_eq!(resources, Some(changed));
}

#[test]
fn all_plugins_hear_of_a_stop_whatever_an_earlier_one_answered() {
    let stop = || api::StopContainerRequest {
        container: Some(container()),
        ..Default::default()
    };
    let updates = |n| {
        Reply::Answer(Response::StopContainer(api::StopContainerResponse {
            update: vec![shares("x", n)],
        }))
    };
    let members = || roster([member("10-a"), member("20-b"), member("30-c")]);
    let (calls, report) = drive(StopFlow::new(&members(), stop()), |_| updates(1));
    assert_eq!(calls.len(), 3);
    assert!(matches!(&report.result, Err(Error::Several(errors)) if errors.len() == 2));

    let (_, report) = drive(StopFlow::new(&members(), stop()), |call| {
        if call.plugin == plugin("10-a") {
            updates(1)
        } else {
            nothing(call)
        }
    });
    let [merged] = &report.result.unwrap().updates[..] else {
        panic!("one update");
    };
    assert_eq!(merged.plugins, [plugin("10-a").id]);
}

/// A plugin that asks for updates, a validator that judges updates, and one that judges creations
/// only. Returns who was called and whether something is to be applied.
fn judged<F: Flow>(
    flow: impl FnOnce(&Roster) -> F,
    asks: impl Fn() -> Option<Response>,
    verdict: impl Fn() -> Reply,
) -> (Vec<String>, Result<(), Error>) {
    let judge = validator("50-judge").validating_updates();
    let members = roster([member("10-a"), judge, validator("60-of-creations")]);
    let (calls, report) = drive(flow(&members), |call| match &**call.request {
        Request::ValidateContainerAdjustment(request) => {
            let [update] = &request.update[..] else {
                panic!("one update is judged");
            };
            assert_eq!(request.adjust, None);
            assert_eq!(request.container.as_ref().unwrap().id, "c1");
            let owners = request.owners.as_ref().unwrap();
            assert!(owners.owners.contains_key(&update.container_id));
            verdict()
        }
        _ => asks().map_or_else(|| nothing(call), Reply::Answer),
    });
    (names(&calls), report.result.map(drop))
}

/// Law: what an update or a stop asks for is applied if no validator that judges updates is against
/// it; without anything to apply, nobody is asked.
#[test]
fn updates_are_judged_by_those_who_judge_updates() {
    let update = || api::UpdateContainerRequest {
        container: Some(container()),
        ..Default::default()
    };
    let stop = || api::StopContainerRequest {
        container: Some(container()),
        ..Default::default()
    };
    let own = || {
        Some(Response::UpdateContainer(api::UpdateContainerResponse {
            update: vec![shares("c1", 7)],
            evict: vec![],
        }))
    };
    let other = || {
        Some(Response::StopContainer(api::StopContainerResponse {
            update: vec![shares("x", 7)],
        }))
    };
    let accepts = || verdict(false, "");
    for (reply, accepted) in [
        (&accepts as &dyn Fn() -> Reply, true),
        (&|| verdict(true, "too much"), false),
        (&failing, false),
        (&late, false),
        (&gone, false),
    ] {
        let (called, result) = judged(|roster| UpdateFlow::new(roster, update()), own, reply);
        assert_eq!(called, ["10-a", "50-judge"]);
        assert_eq!(result.is_ok(), accepted, "{result:?}");
        let (called, result) = judged(|roster| StopFlow::new(roster, stop()), other, reply);
        assert_eq!(called, ["10-a", "50-judge"]);
        assert_eq!(result.is_ok(), accepted, "{result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("50-judge"), "{error}");
        }
    }
    let (called, result) = judged(|r| UpdateFlow::new(r, update()), || None, accepts);
    assert_eq!((called, result), (vec!["10-a".to_owned()], Ok(())));
    let (called, result) = judged(|r| StopFlow::new(r, stop()), || None, accepts);
    assert_eq!((called, result), (vec!["10-a".to_owned()], Ok(())));
}
