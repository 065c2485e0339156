//! What a call costs the runtime, counted: allocations on the thread that it has for itself, with
//! plugins on threads of their own. Counts do not depend on the machine, so they have bounds here;
//! `cargo xtask bench pair --counts` prints them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

#[path = "../benches/pair/plugin.rs"]
mod plugin;
#[path = "../benches/pair/work.rs"]
mod work;

use nri_adaptation::RuntimeApi as _;
use work::{Setup, What, Work};

/// Calls before the first that counts: tables have the size that they keep then.
const WARM_UP: usize = 100;
const COUNTED: usize = 200;

/// Allocations of the runtime for one call.
fn allocations(plugins: usize, items: usize, what: What) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nri.sock");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup {
        socket: socket.clone(),
        request: include_str!("../../nri-core/testdata/realistic-create-request.b64").to_owned(),
        containers: 0,
        in_flight: 1,
    };
    let work = tokio.block_on(Work::start(setup)).unwrap();
    let threads: Vec<_> = (0..plugins)
        .map(|number| {
            let socket = socket.clone();
            let join = move || plugin::join(&socket, &format!("{:02}", 10 + number), items, false);
            std::thread::spawn(move || join().map_err(|error| error.to_string()))
        })
        .collect();
    tokio.block_on(work.wait(plugins)).unwrap();
    let mut counted = 0;
    for number in 0..WARM_UP + COUNTED {
        let call = work.prepare(what, 0, number);
        let mut made = None;
        let all = allocation_counter::measure(|| {
            made = tokio.block_on(call.make(&work.nri)).unwrap();
        });
        tokio.block_on(call.end(&work.nri, made)).unwrap();
        if number >= WARM_UP {
            counted += all.count_total;
        }
    }
    tokio.block_on(work.nri.stop());
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    counted as f64 / COUNTED as f64
}

/// Plugins, items that each of them adds, what is called, and the most that it may allocate.
const BOUNDS: [(&str, usize, usize, What, f64); 6] = [
    ("create, plugin changes nothing", 1, 0, What::Create, 40.0),
    ("create, plugin adds two", 1, 2, What::Create, 55.0),
    ("create, ten change nothing", 10, 0, What::Create, 196.0),
    ("create, ten add two", 10, 2, What::Create, 1050.0),
    ("run, 1 plugin", 1, 0, What::Run, 63.0),
    // What an async function of a trait is in.
    ("nobody wants to hear", 1, 0, What::Unheard, 1.0),
];

#[test]
fn a_call_allocates_no_more_than_it_may() {
    let mut broken = Vec::new();
    for (name, plugins, items, what, most) in BOUNDS {
        let allocations = allocations(plugins, items, what);
        println!("counted: {name}: {allocations:.1} allocations, at most {most}");
        if allocations > most {
            broken.push(format!("{name}: {allocations} > {most}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
