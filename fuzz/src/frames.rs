//! Taking a byte stream apart into frames: how it is cut into portions changes nothing, nothing is
//! lost and nothing is made up.

use nri_proto::frame::{Decoder, FrameError, HEADER_LEN, Header, append_message};

/// A frame put together from its pieces, and whether its end came.
type Frame = (u32, Vec<u8>, bool);

/// Runs the input and checks.
///
/// # Panics
/// A law does not hold.
pub fn check(input: &[u8]) {
    // How large the portions are follows from the input too.
    let portion = 1 + usize::from(input.first().copied().unwrap_or(0)) % 64;
    let whole = decode([input]);
    assert_eq!(decode(input.chunks(portion)), whole, "portions");
    let (frames, result) = whole;

    let mut again = Vec::new();
    for (id, data, complete) in &frames {
        if !complete {
            break;
        }
        let len = data.len() as u32;
        again.extend(Header { id: *id, len }.encode());
        again.extend(data);
    }
    assert!(input.starts_with(&again), "what was decoded was there");
    if result.is_ok() {
        assert_eq!(input, again, "all of it was decoded");
    }

    for id in input
        .chunks_exact(HEADER_LEN)
        .take(1)
        .map(|head| head[3].into())
    {
        let mut wire = Vec::new();
        append_message(id, input, &mut wire).expect("a short message fits");
        let (frames, result) = decode([wire.as_slice()]);
        assert_eq!(result, Ok(()));
        let joined: Vec<u8> = frames.iter().flat_map(|frame| frame.1.clone()).collect();
        assert_eq!(joined, input, "a message comes back");
        assert!(frames.iter().all(|frame| frame.0 == id));
    }
}

fn decode<'a>(
    portions: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames: Vec<Frame> = Vec::new();
    for mut portion in portions {
        loop {
            match decoder.next(&mut portion) {
                Ok(Some(piece)) => {
                    if piece.first {
                        frames.push((piece.id, Vec::new(), false));
                    }
                    let frame = frames
                        .last_mut()
                        .expect("a frame begins with its first piece");
                    assert!(
                        frame.0 == piece.id && !frame.2,
                        "pieces of one frame come together"
                    );
                    frame.1.extend_from_slice(piece.data);
                    frame.2 = piece.last;
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(portion.is_empty(), "all is taken");
    }
    (frames, decoder.finish())
}
