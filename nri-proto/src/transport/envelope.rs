//! How many entries the envelope of a call or an answer may have, counted before it is decoded. An
//! entry of two bytes is many times that in memory, and nobody has more than a few.

use crate::items::{Field, Limits, Shape};

/// The most pairs of metadata in a request, and the most details in a status.
const MOST: usize = 1024;

static KEY_VALUE: Shape = Shape {
    name: "KeyValue",
    fields: &[],
};

static ANY: Shape = Shape {
    name: "Any",
    fields: &[],
};

static STATUS: Shape = Shape {
    name: "Status",
    fields: &[Field {
        number: 3,
        name: "details",
        repeated: true,
        packed: false,
        message: Some(&ANY),
    }],
};

static REQUEST: Shape = Shape {
    name: "the envelope of the request",
    fields: &[Field {
        number: 5,
        name: "metadata",
        repeated: true,
        packed: false,
        message: Some(&KEY_VALUE),
    }],
};

static RESPONSE: Shape = Shape {
    name: "the envelope of the answer",
    fields: &[Field {
        number: 1,
        name: "status",
        repeated: false,
        packed: false,
        message: Some(&STATUS),
    }],
};

/// Whether the envelope of a request can be decoded.
///
/// # Errors
/// It has too many entries.
pub(super) fn check_request(data: &[u8]) -> Result<(), String> {
    check(&REQUEST, data)
}

/// Whether the envelope of an answer can be decoded.
///
/// # Errors
/// It has too many entries.
pub(super) fn check_response(data: &[u8]) -> Result<(), String> {
    check(&RESPONSE, data)
}

fn check(shape: &'static Shape, data: &[u8]) -> Result<(), String> {
    let limits = Limits {
        asked: MOST,
        items: MOST,
    };
    let checked = limits.check_shape(shape, data);
    checked.map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::transport::message::{decode_request, decode_response};

    /// Law: what an envelope costs is bounded by what is counted, however long it is.
    #[test]
    fn four_mebibytes_of_metadata_or_details_cost_nothing() {
        let metadata = Bytes::from([0x2a, 0].repeat(2 << 20));
        let mut details = vec![0x0a, 0x80, 0x80, 0x80, 0x01];
        details.extend([0x1a, 0].repeat(1 << 20));
        let details = Bytes::from(details);
        let cost = allocation_counter::measure(|| {
            let error = decode_request(metadata.clone()).unwrap_err();
            assert!(error.contains("more than 1024 entries"), "{error}");
            let error = decode_response(details.clone()).unwrap_err();
            assert!(error.contains("details"), "{error}");
        });
        assert!(cost.bytes_max < 4096, "{cost:?}");
    }

    #[test]
    fn a_few_are_taken() {
        assert_eq!(
            decode_request([0x2a, 0].repeat(1000).into())
                .unwrap()
                .metadata
                .len(),
            1000
        );
    }
}
