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
//! one series, three rounds; at 8632b66 on 2026-11-27 on the same machine, the medians as ratios to
//! Go with Go. The plugins are processes that add two annotations; bytes there and back alone took
//! 53 us. "Undecoded" are plugins of `on_view` and `on_synchronize_part`:
//!
//! | plugins | runtime / plugin | p50 of a creation | p99 | creations/s, 8 callers |
//! |---|---|---|---|---|
//! | 1 | ours / ours | 0.58 (180 us) | 0.29 | 2.2 |
//! | 1 | ours / ours, undecoded | 0.46 | 0.22 | 3.8 |
//! | 1 | ours / Go | 0.83 | 0.83 | 1.3 |
//! | 1 | Go / ours | 0.75 | 0.60 | 1.4 |
//! | 3 | ours / ours | 0.48 (534 us) | 0.27 | 4.6 |
//! | 3 | ours / Go | 0.83 | 0.51 | 1.6 |
//! | 10 | ours / ours | 0.45 (2.1 ms) | 0.53 | 6.6 |
//! | 10 | ours / Go | 0.89 | 0.98 | 2.5 |
//!
//! | synchronising 10,000 containers (78 MB) | time | the runtime's memory | the plugin's |
//! |---|---|---|---|
//! | ours / ours | 0.46 (0.87 s) | 0.97 | 1.01 |
//! | ours / ours, in parts | 0.40 | 0.97 | 0.02 (7 MiB) |
//! | ours / Go | 0.72 | 0.97 | 0.96 |
//!
//! What each end costs alone: `bare` is blocking reads and writes of bytes that were encoded
//! before, and the least that there can be beside the other end. At e7a1051 on the same day, in a
//! series of its own of one round on a busy machine, as ratios to Go with Go (268 us, 3.1 ms,
//! 1.3 s); bytes there and back took 10 us:
//!
//! | runtime / plugin | creation p50, 1 plugin | 10 plugins | synchronising 10,000 |
//! |---|---|---|---|
//! | bare / Go | 0.52 | 0.52 | 0.47 |
//! | bare / ours | 0.14 | 0.33 | |
//! | Go / bare | 0.45 | 0.40 | |
//! | ours / bare | 0.16 | 0.26 | 0.41 |
