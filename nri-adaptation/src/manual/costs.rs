//! What plugins cost, in time and in memory.
//!
//! `cargo xtask bench sockets`: `create_container` of a realistic container (8 KiB on the wire)
//! through plugin processes (the example `annotate`, one annotation each), from the call to its
//! outcome; one pod per caller. On 2 cores of a virtual machine on which 8 KiB there and a short
//! answer back between two processes, with blocking calls and nothing else, takes 72 us:
//!
//! | plugins | places each | callers | p50 | p99 | creations/s | a plugin's memory | the runtime's |
//! |---|---|---|---|---|---|---|---|
//! | 1 | 1 | 1 | 0.19 ms | 0.39 ms | 3,685 | 4.9 MiB | 8.7 MiB |
//! | 1 | 1 | 8 | 1.8 ms | 2.8 ms | 4,160 | 4.9 MiB | 9.8 MiB |
//! | 1 | 1 | 100 | 26 ms | 36 ms | 3,730 | 4.9 MiB | 21 MiB |
//! | 1 | 16 | 100 | 16 ms | 21 ms | 6,120 | 4.9 MiB | 21 MiB |
//! | 3 | 1 | 1 | 0.63 ms | 1.1 ms | 1,344 | 4.9 MiB | 18 MiB |
//! | 3 | 1 | 8 | 3.0 ms | 4.2 ms | 2,561 | 4.9 MiB | 18 MiB |
//! | 3 | 1 | 100 | 44 ms | 59 ms | 2,292 | 4.9 MiB | 25 MiB |
//! | 3 | 16 | 100 | 31 ms | 38 ms | 3,275 | 5.1 MiB | 26 MiB |
//! | 10 | 1 | 1 | 2.2 ms | 3.8 ms | 410 | 4.9 MiB | 20 MiB |
//! | 10 | 1 | 8 | 7.3 ms | 10 ms | 1,074 | 4.9 MiB | 19 MiB |
//! | 10 | 1 | 100 | 99 ms | 108 ms | 1,065 | 4.9 MiB | 24 MiB |
//! | 10 | 16 | 100 | 67 ms | 105 ms | 1,488 | 5.1 MiB | 27 MiB |
//!
//! `cargo xtask bench pair` sets the same calls beside the reference (v0.12.2, Go), alternating in
//! one series; two rounds at 39cedaf on 2026-11-27 on the same machine, as ratios to Go with Go,
//! the higher one of both rounds. The plugins are processes that add two annotations; bytes there
//! and back alone took 37 us. "Undecoded" are plugins of `on_view` and `on_synchronize_part`, and
//! `bare` is blocking reads and writes of bytes that were encoded before: what the other end costs
//! whoever is at this one, and so the least that there can be:
//!
//! | plugins | runtime / plugin | p50 of a creation | p99 | creations/s, 8 callers |
//! |---|---|---|---|---|
//! | 1 | ours / ours | 0.56 (169 us) | 0.29 | 3.2 |
//! | 1 | ours / ours, undecoded | 0.41 | 0.37 | 4.6 |
//! | 1 | ours / Go | 0.82 | 0.83 | 1.6 |
//! | 1 | Go / ours | 0.61 | 0.66 | 1.9 |
//! | 1 | bare / Go | 0.55 | 0.66 | 1.8 |
//! | 1 | bare / ours | 0.31 | 0.16 | 4.4 |
//! | 1 | Go / bare | 0.36 | 0.48 | 2.7 |
//! | 1 | ours / bare | 0.38 | 0.21 | 4.8 |
//! | 3 | ours / ours | 0.50 (361 us) | 0.31 | 5.2 |
//! | 3 | ours / Go | 0.79 | 0.75 | 2.0 |
//! | 3 | bare / Go | 0.77 | 1.23 | 2.8 |
//! | 10 | ours / ours | 0.49 (1.3 ms) | 0.29 | 5.6 |
//! | 10 | ours / ours, undecoded | 0.33 | 0.21 | 10 |
//! | 10 | ours / Go | 0.85 | 0.96 | 2.7 |
//! | 10 | bare / Go | 0.63 | 0.77 | 3.5 |
//! | 10 | bare / ours | 0.37 | 0.45 | 8.9 |
//! | 10 | ours / bare | 0.37 | 0.28 | 6.7 |
//!
//! | synchronising 10,000 containers (78 MB) | time | the runtime's memory | the plugin's |
//! |---|---|---|---|
//! | ours / ours | 0.32 (0.44 s) | 0.95 | 0.95 |
//! | ours / ours, in parts | 0.28 | 0.95 | 0.02 (7 MiB) |
//! | ours / Go | 0.59 | 0.95 | 0.95 |
//! | bare / Go | 0.45 | 0.80 | 1.05 |
//! | ours / bare | 0.36 | 0.98 | 0.15 |
