//! What exists reaches the plugin once and whole, in however many messages it comes.

use std::sync::{Arc, Mutex};

use nri_core::flow::SynchronizeFlow;
use nri_plugin::{Error, Handlers, State, api};
use nri_proto::transport::Code;
use prost::Message as _;

use crate::support::{Runtime, Socket, current, on, one_event, within};

type Seen = Arc<Mutex<Vec<(usize, usize)>>>;

fn plugin(seen: &Seen) -> Handlers {
    let seen = Arc::clone(seen);
    one_event()
        .on_synchronize(move |_, pods, containers| {
            seen.lock().unwrap().push((pods.len(), containers.len()));
            let update = api::ContainerUpdate {
                container_id: containers[0].id.clone(),
                ..Default::default()
            };
            async move { Ok(vec![update]) }
        })
        .build()
}

async fn configured(socket: &Socket) -> Runtime {
    let mut runtime = socket.accept().await;
    runtime.registration().await.answer(Ok(api::Empty {}));
    runtime.configure(current("")).await.unwrap();
    runtime
}

fn containers(count: usize, bytes: usize) -> Vec<api::Container> {
    (0..count)
        .map(|n| api::Container {
            id: format!("c{n}"),
            annotations: [("padding".to_owned(), "x".repeat(bytes))].into(),
            ..Default::default()
        })
        .collect()
}

fn pods(count: usize) -> Vec<api::PodSandbox> {
    vec![api::PodSandbox::default(); count]
}

#[tokio::test]
async fn parts_are_put_together() {
    let seen = Seen::default();
    let socket = Socket::new();
    let runner = on(&socket, plugin(&seen)).build().unwrap();
    let handle = runner.handle();
    let _run = tokio::spawn(runner.run());
    let runtime = configured(&socket).await;
    let mut flow = SynchronizeFlow::new(pods(10), containers(60, 200_000));
    let mut parts = 0;
    let mut updates = None;
    while let Some(part) = flow.next_part().unwrap() {
        parts += 1;
        assert!(
            seen.lock().unwrap().is_empty(),
            "only the last part hands over"
        );
        let more = part.more;
        let part = api::SynchronizeRequest::decode(&*part.bytes).unwrap();
        let response = runtime.synchronize(part).await.unwrap();
        assert_eq!(response.more, more);
        updates = flow.answer(response).unwrap();
    }
    assert!(parts >= 3);
    assert_eq!(*seen.lock().unwrap(), [(10, 60)]);
    let updates = updates.unwrap();
    assert_eq!((updates.len(), updates[0].container_id.as_str()), (1, "c0"));
    let ready = |state: &State| matches!(state, State::Ready(_));
    within(handle.state().wait_for(ready)).await.unwrap();
}

#[tokio::test]
async fn what_would_take_too_much_memory_is_refused() {
    let socket = Socket::new();
    let runner = on(&socket, plugin(&Seen::default())).max_sync_bytes(1 << 20);
    let connect = tokio::spawn(runner.build().unwrap().connect());
    let runtime = configured(&socket).await;
    let connected = within(connect).await.unwrap().unwrap();
    let part = |more| api::SynchronizeRequest {
        pods: Vec::new(),
        containers: containers(3, 200_000),
        more,
    };
    assert!(runtime.synchronize(part(true)).await.unwrap().more);
    let error = runtime.synchronize(part(true)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.to_string().contains("1048576"), "{error}");
    runtime.connection.close();
    let error = within(connected.synchronized()).await.unwrap_err();
    assert!(matches!(error, Error::Synchronize { .. }), "{error}");
    let error = within(connected.ended()).await.unwrap_err();
    assert!(matches!(error, Error::Synchronize { .. }), "{error}");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_synchronised_says_why() {
    let socket = Socket::new();
    let plugin = one_event()
        .on_synchronize(|_, _, _| async { Err::<(), _>("no room".into()) })
        .build();
    let run = tokio::spawn(on(&socket, plugin).build().unwrap().run());
    let runtime = configured(&socket).await;
    let error = runtime
        .synchronize(api::SynchronizeRequest::default())
        .await;
    assert_eq!(error.unwrap_err().code(), Code::Unknown);
    // A runtime closes then; if it does not, the plugin does.
    let error = within(run).await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("10-test") && error.contains("no room"),
        "{error}"
    );
}

#[tokio::test]
async fn the_wait_for_it_ends_with_the_connection() {
    let socket = Socket::new();
    let connect = tokio::spawn(
        on(&socket, plugin(&Seen::default()))
            .build()
            .unwrap()
            .connect(),
    );
    let runtime = configured(&socket).await;
    let connected = within(connect).await.unwrap().unwrap();
    runtime.connection.close();
    let error = within(connected.synchronized()).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

/// Law: a plugin that takes parts is given each once, in order, and its updates go with the last.
#[tokio::test]
async fn parts_reach_a_plugin_that_takes_them_as_they_come() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let plugin = one_event()
        .on_synchronize_part(move |_, part| {
            let ids: Vec<_> = part.containers.iter().map(|it| it.id.clone()).collect();
            let first = part.containers.first().map(|it| api::ContainerUpdate {
                container_id: it.id.clone(),
                ..Default::default()
            });
            noted.lock().unwrap().push((part.first, part.last, ids));
            async move { Ok(Vec::from_iter(first)) }
        })
        .build();
    let socket = Socket::new();
    // What comes is more than a plugin that takes the whole may have in memory.
    let runner = on(&socket, plugin).max_sync_bytes(1 << 20).build().unwrap();
    let handle = runner.handle();
    let _run = tokio::spawn(runner.run());
    let runtime = configured(&socket).await;
    for round in 1..=2 {
        let mut flow = SynchronizeFlow::new(pods(10), containers(60, 200_000));
        let mut updates = None;
        let mut parts = 0;
        while let Some(part) = flow.next_part().unwrap() {
            let part = api::SynchronizeRequest::decode(&*part.bytes).unwrap();
            let response = runtime.synchronize(part).await.unwrap();
            parts += 1;
            assert_eq!(
                seen.lock().unwrap().len(),
                parts,
                "each part is handed over"
            );
            updates = flow.answer(response).unwrap();
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(parts >= 3);
        let ends: Vec<_> = seen
            .iter()
            .map(|(first, last, _)| (*first, *last))
            .collect();
        assert_eq!(ends[0], (true, false), "round {round}");
        assert_eq!(ends[parts - 1], (false, true));
        assert!(
            ends[1..parts - 1]
                .iter()
                .all(|ends| *ends == (false, false))
        );
        let ids: Vec<_> = seen.iter().flat_map(|(_, _, ids)| ids.clone()).collect();
        let all: Vec<_> = containers(60, 0).into_iter().map(|it| it.id).collect();
        assert_eq!(ids, all);
        let asked: Vec<_> = updates
            .unwrap()
            .into_iter()
            .map(|it| it.container_id)
            .collect();
        let firsts: Vec<_> = seen
            .iter()
            .filter_map(|(_, _, ids)| ids.first().cloned())
            .collect();
        assert_eq!(asked, firsts);
    }
    let ready = |state: &State| matches!(state, State::Ready(_));
    within(handle.state().wait_for(ready)).await.unwrap();
}
