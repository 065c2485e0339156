//! Why a vector cannot be judged.

/// Why a vector cannot be judged. In a file that is intact, this does not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The line cannot be read.
    #[error("cannot read the line: {0}")]
    Read(#[from] std::io::Error),
    /// The line is not such a JSON object.
    #[error("not a vector: {0}")]
    Json(#[from] serde_json::Error),
    /// A member is not base64.
    #[error("member is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A member is not the message that it should be.
    #[error("member is not such a message: {0}")]
    Message(#[from] prost::DecodeError),
    /// A plugin has an identity that cannot be.
    #[error(transparent)]
    Identity(#[from] nri_core::InvalidIdentity),
    /// The vector is of a kind, or does something, that this runner does not know.
    #[error("unknown {what}: {value:?}")]
    Unknown {
        /// What is unknown.
        what: &'static str,
        /// How it is called.
        value: String,
    },
}
