//! How layers are compressed: an archive as a stream of what it was before. What may not enter:
//! what is in it.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The most that has to be remembered of a layer to unpack the rest, as `zstd` itself has it
/// without `--long`: more is refused before memory is taken for it.
const MOST_WINDOW: u64 = 128 << 20;

/// What an archive was before compression, which its first bytes tell: gzip, zstd or none.
///
/// # Errors
/// Those of reading it.
pub(super) fn plain<'a>(mut archive: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match archive.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(archive)),
        // The other one is a frame with something for somebody else, which may be the first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Zstd::new(archive))
        }
        _ => Box::new(archive),
    })
}

/// All frames of a file of zstd, one after the other.
struct Zstd<R> {
    from: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(from: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        Self {
            from,
            decoder,
            in_frame: false,
        }
    }

    /// Goes to the next frame that holds something; whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.from.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.from) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.from).take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.in_frame || self.next_frame()? {
            self.in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.from, one);
                decoded.map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.in_frame = false;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write as _;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        plain(bytes)?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    /// A frame that is no part of what is compressed, as chunked layers have them.
    fn skipped(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap();
        [&[0x5a, 0x2a, 0x4d, 0x18], &length.to_le_bytes()[..], text].concat()
    }

    #[test]
    fn an_archive_is_what_it_was_before() {
        let text: Vec<u8> = (0..300_000u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        assert!(read(&text).unwrap() == text);
        assert!(read(&gzip.finish().unwrap()).unwrap() == text);
        assert!(read(&zstd(&text)).unwrap() == text);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn frames_of_zstd_follow_one_another_and_some_are_for_others() {
        let (one, two) = text_of_two();
        let file = [
            &skipped(b"x")[..],
            &zstd(one),
            &skipped(b""),
            &zstd(b""),
            &zstd(two),
        ]
        .concat();
        assert_eq!(read(&file).unwrap(), [one, two].concat());
        assert!(read(&[&zstd(one)[..], &skipped(b"yyy")].concat()).unwrap() == one);
    }

    fn text_of_two() -> (&'static [u8], &'static [u8]) {
        (b"the one, the one, the one", b"the other")
    }

    #[test]
    fn what_is_cut_off_or_no_zstd_is_an_error() {
        let (one, _) = text_of_two();
        let file = zstd(one);
        for end in 4..file.len() {
            read(&file[..end]).unwrap_err();
        }
        read(&[&file[..], b"something else"].concat()).unwrap_err();
        let cut = skipped(b"four");
        read(&cut[..cut.len() - 1]).unwrap_err();
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        // A header without a size of the whole, and the window of 2^(10 + 31) bytes.
        let error = read(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 31 << 3, 0, 0, 0]).unwrap_err();
        assert!(
            error.to_string().to_lowercase().contains("window"),
            "{error}"
        );
    }
}
