//! How a plugin comes, and what it is shown.

use std::collections::BTreeSet;
use std::time::Duration;

use nri_core::{EventMask, api};

use crate::plugin_conformance::check::Check;
use crate::plugin_conformance::stage::{Played, Stage, identity, in_pod};
use crate::tested_plugin::Manner;

/// How many containers a synchronisation in several messages has, and how many a message.
const MANY: usize = 10_000;
const PART: usize = 500;
/// How long a slow runtime takes to answer a registration. Plugins wait for 5 s.
const SLOW: Duration = Duration::from_secs(1);

pub(super) async fn usual(stage: &mut Stage) -> Played {
    let peer = stage.connected(Manner::default()).await?;
    let registered = peer.registered(stage.patience()).await;
    let registered = registered.map_err(|why| format!("{why}{}", stage.bench.printed()))?;
    if let Err(why) = identity(&registered) {
        stage.found(Check::Registered, format!("it registered with {why}"));
    }
    let asked = stage.configuration();
    let answer: api::ConfigureResponse = match peer.get("Configure", &asked).await {
        Ok(answer) => answer,
        Err(fault) => {
            stage.found(Check::Configured, fault.what.clone());
            stage.found(Check::Synchronised, fault.what);
            return Ok(());
        }
    };
    // 0 stands for all of them.
    if let Err(error) = EventMask::from_bits(answer.events) {
        stage.found(Check::Configured, error.to_string());
    }
    let containers = vec![in_pod("web", "web-1"), in_pod("sidecar", "web-1")];
    let shown: BTreeSet<&str> = containers.iter().map(|it| &*it.id).collect();
    let request = api::SynchronizeRequest {
        pods: vec![crate::pod("web-1")],
        containers: containers.clone(),
        more: false,
    };
    let answer: Result<api::SynchronizeResponse, _> = peer.get("Synchronize", &request).await;
    match answer {
        Err(fault) => stage.found(Check::Synchronised, fault.what),
        Ok(answer) => {
            if answer.more {
                let text = "it answered the last part with `more`, as if another one came";
                stage.found(Check::Synchronised, text);
            }
            for update in answer.update {
                if !shown.contains(&*update.container_id) {
                    let id = update.container_id;
                    let text = format!("it asked for an update of {id:?}, which it was not shown");
                    stage.found(Check::Synchronised, text);
                }
            }
        }
    }
    if peer.registrations() > 1 {
        let text = format!("it registered {} times", peer.registrations());
        stage.found(Check::Registered, text);
    }
    Ok(())
}

pub(super) async fn launched(stage: &mut Stage) -> Played {
    if stage.bench.subject.command.is_none() {
        stage.skip(
            Check::Launched,
            "nri-sim does not start the plugin: say --plugin COMMAND",
        );
        return Ok(());
    }
    let peer = stage.launched().await?;
    stage.joined_on(peer).await.map(drop)
}

pub(super) async fn by_socket(stage: &mut Stage) -> Played {
    if !stage.bench.subject.connects() {
        stage.skip(
            Check::Socket,
            "nothing says how the plugin is given a path: write {socket} into its command, or say --socket PATH if it has one of its own",
        );
        return Ok(());
    }
    let peer = stage.by_socket().await?;
    stage.joined_on(peer).await.map(drop)
}

pub(super) async fn refused(stage: &mut Stage) -> Played {
    let manner = Manner {
        refusal: Some("this runtime takes no plugins today"),
        ..Manner::default()
    };
    let peer = stage.connected(manner).await?;
    peer.registered(stage.patience()).await?;
    // A runtime closes the connection then.
    peer.close();
    stage.copes(Check::Refused).await;
    Ok(())
}

pub(super) async fn split(stage: &mut Stage) -> Played {
    let peer = stage.connected(Manner::default()).await?;
    let session = stage.configured(peer).await?;
    let pod = crate::pod("web-1");
    let one = in_pod("web", "web-1");
    for first in (0..MANY).step_by(PART) {
        let more = first + PART < MANY;
        let containers = (first..first + PART).map(|number| api::Container {
            id: format!("{number:064}"),
            ..one.clone()
        });
        let request = api::SynchronizeRequest {
            pods: vec![pod.clone()],
            containers: containers.collect(),
            more,
        };
        let answer: api::SynchronizeResponse = session.peer.get("Synchronize", &request).await?;
        if answer.more != more {
            let text = format!(
                "it answered part {} of {} with `more` = {}, and was to answer {more}",
                first / PART + 1,
                MANY / PART,
                answer.more
            );
            stage.found(Check::SplitSync, text);
            // Each of those after it would be the same.
            return Ok(());
        }
        if more && !answer.update.is_empty() {
            let text = "it asked for updates in a part that was not the last: runtimes drop those";
            stage.found(Check::SplitSync, text);
        }
    }
    let after = "a synchronisation in several messages";
    stage.still_answers(Check::SplitSync, &session, after).await;
    Ok(())
}

pub(super) async fn slow(stage: &mut Stage) -> Played {
    let manner = Manner {
        delay: SLOW,
        pieces: 3,
        ..Manner::default()
    };
    let peer = stage.connected(manner).await?;
    let session = stage.configured(peer).await?;
    let shown = (vec![crate::pod("web-1")], vec![in_pod("web", "web-1")]);
    stage.synchronised(&session, shown.0, shown.1).await?;
    stage
        .still_answers(Check::SlowRuntime, &session, "a slow start")
        .await;
    Ok(())
}
