//! Header blocks of SPDY/3.1: counted names and values, compressed by zlib with a dictionary that
//! both sides know. All blocks of one direction are one zlib stream.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress};

use crate::error::{Error, Result};

/// The most that a block may be, compressed or not: a client's are a few hundred bytes.
pub(super) const MOST: usize = 16 << 10;

/// The first part of the dictionary: words, each with its length in front.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match \
    if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url \
    public set-cookie keep-alive origin";

/// The rest of it.
const TEXT: &str = "1001012012022052063003023033043053063074024054064074084094104114124134144154164\
    17502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request\
    401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 \
    Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, \
    Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// What a block without headers is, after what begins the stream: a stored block with their number,
/// 0, and an empty one, which makes the reader look at what it has.
pub(super) const EMPTY: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// What begins a zlib stream that needs no dictionary.
pub(super) const BEGIN: [u8; 2] = [0x78, 0x01];

/// The names and values of a block. Names are in lower case.
pub(crate) type Headers = BTreeMap<String, String>;

/// The dictionary.
fn dictionary() -> Vec<u8> {
    let mut all = Vec::new();
    for word in WORDS.split(' ') {
        all.extend_from_slice(&[0, 0, 0, word.len() as u8]);
        all.extend_from_slice(word.replace('_', " ").as_bytes());
    }
    all.extend_from_slice(TEXT.as_bytes());
    all
}

/// The blocks that a client sends, one after the other.
#[derive(Debug)]
pub(super) struct Blocks(Decompress);

impl Blocks {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or too large.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers> {
        let unreadable = |why: &str| Error::invalid(format!("a header block of SPDY: {why}"));
        let mut plain = Vec::with_capacity(MOST);
        let begin = self.0.total_in();
        loop {
            let read = usize::try_from(self.0.total_in() - begin).unwrap_or(usize::MAX);
            let rest = block.get(read..).unwrap_or_default();
            let (before, sync) = (self.0.total_in(), FlushDecompress::Sync);
            match self.0.decompress_vec(rest, &mut plain, sync) {
                Ok(_) if plain.len() == plain.capacity() => return Err(unreadable("too large")),
                Ok(_) if self.0.total_in() == before => break,
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&dictionary());
                    set.map_err(|error| unreadable(&error.to_string()))?;
                }
                Err(error) => return Err(unreadable(&error.to_string())),
            }
        }
        parse(&plain).ok_or_else(|| unreadable("cut off"))
    }
}

fn parse(mut plain: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    for _ in 0..number(&mut plain)? {
        let mut text = || {
            let length = usize::try_from(number(&mut plain)?).ok()?;
            let (text, rest) = plain.split_at_checked(length)?;
            plain = rest;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (name, value) = (text()?.to_ascii_lowercase(), text()?);
        headers.insert(name, value);
    }
    Some(headers)
}

fn number(plain: &mut &[u8]) -> Option<u32> {
    let (number, rest) = plain.split_first_chunk()?;
    *plain = rest;
    Some(u32::from_be_bytes(*number))
}

#[cfg(test)]
pub(super) mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// A client's side of the stream.
    pub(crate) struct Writer(Compress);

    impl Writer {
        pub(crate) fn new() -> Self {
            let mut compress = Compress::new(Compression::best(), true);
            compress.set_dictionary(&dictionary()).unwrap();
            Self(compress)
        }

        pub(crate) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
            let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
            for text in headers.iter().flat_map(|(name, value)| [name, value]) {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
            self.compress(&plain)
        }

        fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
            let mut block = Vec::with_capacity(plain.len() + 1000);
            let sync = FlushCompress::Sync;
            self.0.compress_vec(plain, &mut block, sync).unwrap();
            block
        }
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        // Clients name it by this sum, the one of RFC 1950.
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_are_one_stream() {
        let (mut writer, mut blocks) = (Writer::new(), Blocks::new());
        for kind in ["error", "stdin", "stdout"] {
            let block = writer.block(&[("StreamType", kind), ("Port", "80")]);
            let headers = blocks.read(&block).unwrap();
            let expected = [("port", "80"), ("streamtype", kind)];
            assert!(
                headers
                    .iter()
                    .map(|(name, value)| (&**name, &**value))
                    .eq(expected)
            );
        }
    }

    #[test]
    fn our_empty_blocks_are_blocks() {
        let mut blocks = Blocks::new();
        let first = [&BEGIN[..], &EMPTY].concat();
        assert!(blocks.read(&first).unwrap().is_empty());
        assert!(blocks.read(&EMPTY).unwrap().is_empty());
    }

    #[test]
    fn a_block_that_grows_too_large_is_refused() {
        let text = "a".repeat(MOST);
        let block = Writer::new().block(&[("name", &text)]);
        assert!(block.len() < 1000);
        let error = Blocks::new().read(&block).unwrap_err().to_string();
        assert!(error.contains("too large"), "{error}");
    }

    proptest! {
        #[test]
        fn no_block_breaks_the_reader(plain in proptest::collection::vec(any::<u8>(), 0..200),
                                      raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Blocks::new().read(&raw);
            let _ = Blocks::new().read(&Writer::new().compress(&plain));
        }
    }
}
