//! What goes wrong on a node: a configuration with a mistake, a socket that somebody has, no
//! runtime, two hubs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nri_testkit::TestRuntime;

use crate::process::Place;

/// The status code and the body of `GET`, asked at a socket.
fn get(socket: &Path, path: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (code, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_leaves_the_one_before_in_force_and_is_told() {
    let runtime = TestRuntime::start().await;
    let place = Place::new(&runtime.socket());
    place.configure("[plugins.log]\nobserve = true", "");
    let _hub = place.start();
    let status = place.wait_for("ready", |status| status.not_ready.is_empty());
    assert_eq!(status.config.error, None);
    // Nobody tells it: it looks.
    place.configure("[plugins.log]\nobserve = 'yes'", "");
    let status = place.wait_for("the mistake", |status| status.config.error.is_some());
    let error = status.config.error.unwrap();
    assert!(error.contains("plugins.log.observe"), "{error}");
    assert!(status.not_ready.is_empty());
    let said = String::from_utf8(place.ask(&[]).stdout).unwrap();
    assert!(said.contains("NOT IN FORCE"), "{said}");
    // Nothing that a plugin could not be.
    place.configure("[plugins.log]\nobserve = true\non_late = 'fail'", "");
    place.wait_for("another mistake", |status| {
        let error = status.config.error.as_deref();
        error.is_some_and(|error| error.contains("on_late"))
    });
    std::fs::write(place.file("config.toml"), [0xff, 0xfe]).unwrap();
    place.wait_for("no text", |status| {
        let error = status.config.error.as_deref();
        error.is_some_and(|error| !error.contains("on_late"))
    });
    place.configure("", "");
    place.wait_for("the mending", |status| status.config.error.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_socket_that_somebody_has_ends_the_hub_and_is_named() {
    let runtime = TestRuntime::start().await;
    let place = Place::new(&runtime.socket());
    place.configure("", "");
    let control = place.file("control.sock");
    let _somebody = UnixListener::bind(&control).unwrap();
    let (code, error) = place.fail();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(control.to_str().unwrap()), "{error}");
    assert!(runtime.plugins().is_empty());
}

/// Law: a hub that plugins could not reach never is a plugin of the runtime, which would ask it,
/// and fail what it asks when it is gone.
#[test]
fn a_plugins_socket_that_cannot_be_opened_ends_the_hub_before_the_runtime_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = UnixListener::bind(directory.path().join("runtime.sock")).unwrap();
    runtime.set_nonblocking(true).unwrap();
    let place = Place::new(&directory.path().join("runtime.sock"));
    place.configure("", "");
    let socket = place.file("nri.sock");
    for (what, says) in [
        ("somebody", "another process is listening"),
        ("a file", "not a socket"),
    ] {
        let _ = std::fs::remove_file(&socket);
        let somebody = (what == "somebody").then(|| UnixListener::bind(&socket).unwrap());
        if somebody.is_none() {
            std::fs::write(&socket, "").unwrap();
        }
        let (code, error) = place.fail();
        assert_eq!(code, Some(1), "{error}");
        assert!(
            error.contains(socket.to_str().unwrap()) && error.contains(says),
            "{error}"
        );
        let heard = runtime.accept().map(drop);
        assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_runtime_it_waits_says_so_and_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("runtime.sock");
    let place = Place::new(&socket);
    let http = place.file("http.sock");
    place.configure("", &format!("http = 'unix://{}'", http.display()));
    let mut hub = place.start();
    let status = place.wait_for("a status", |_| true);
    assert_eq!(status.not_ready[0], "no runtime is connected above");
    assert_eq!(get(&http, "/healthz").0, "200");
    let (code, why) = get(&http, "/readyz");
    assert_eq!(code, "503");
    assert!(why.contains("no runtime is connected above"), "{why}");
    assert_eq!(place.ask(&["--ready"]).status.code(), Some(3));
    let said = String::from_utf8(place.ask(&[]).stdout).unwrap();
    assert!(said.contains(socket.to_str().unwrap()), "{said}");
    // A file that is no socket is none either.
    std::fs::write(&socket, "").unwrap();
    place.wait_for("what is there", |status| {
        status.runtime.reason.contains("it is no socket")
    });
    assert!(hub.is_running());
    std::fs::remove_file(&socket).unwrap();
    let above = socket.clone();
    let builder = TestRuntime::builder().config(|config| config.socket_path = above);
    let _runtime = builder.start().await;
    place.wait_for("ready", |status| status.not_ready.is_empty());
    assert_eq!(get(&http, "/readyz").0, "200");
    assert_eq!(place.ask(&["--ready"]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hubs_in_one_place_the_second_ends_and_the_first_goes_on() {
    let runtime = TestRuntime::start().await;
    let place = Place::new(&runtime.socket());
    place.configure("", "");
    let mut first = place.start();
    place.wait_for("ready", |status| status.not_ready.is_empty());
    let (code, error) = place.fail();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("control.sock"), "{error}");
    assert!(first.is_running());
    assert!(
        place
            .status()
            .is_some_and(|status| status.not_ready.is_empty())
    );
    assert_eq!(runtime.plugins(), ["50-hub"]);
    // Where the first was killed, its sockets are in nobody's way.
    first.kill();
    let _third = place.start();
    place.wait_for("ready again", |status| status.not_ready.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_with_places_and_identities_of_their_own_are_two_plugins() {
    let runtime = TestRuntime::start().await;
    let places = [Place::new(&runtime.socket()), Place::new(&runtime.socket())];
    let mut hubs = Vec::new();
    for (place, identity) in places.iter().zip(["10-early", "90-late"]) {
        place.configure("", &format!("identity = '{identity}'"));
        hubs.push(place.start());
        place.wait_for("ready", |status| status.not_ready.is_empty());
    }
    assert_eq!(runtime.plugins(), ["10-early", "90-late"]);
}
