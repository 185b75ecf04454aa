//! Frames on tunnels and hops: a preamble that says what the connection is, then length-prefixed messages.

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use crate::limits::FRAME_BYTES_MAX;

/// First bytes of a tunnel (agent to gateway). The digit is the version of the framing.
pub const TUNNEL_PREAMBLE: [u8; 5] = *b"BWLT1";
/// First bytes of a hop (gateway to gateway).
pub const HOP_PREAMBLE: [u8; 5] = *b"BWLH1";

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended within a frame.
    #[error("the connection broke off")]
    Io(#[from] std::io::Error),
    /// The peer announced a frame that is too large.
    #[error("a frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLarge(u32),
    /// The bytes are not the expected message.
    #[error("a frame is malformed")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends `message` as a frame.
///
/// # Panics
/// If the message is larger than [`FRAME_BYTES_MAX`], which no message of ours can be.
pub fn append(buffer: &mut Vec<u8>, message: &impl Message) {
    let length = u32::try_from(message.encoded_len()).expect("our messages are small");
    assert!(length <= FRAME_BYTES_MAX, "our messages are small");
    buffer.extend_from_slice(&length.to_be_bytes());
    message.encode(buffer).expect("a Vec grows");
}

/// Writes `message` as one frame, in one write. Not cancel safe: a dropped call may leave half a frame.
///
/// # Errors
/// [`FrameError::Io`].
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> Result<(), FrameError> {
    let mut buffer = Vec::with_capacity(message.encoded_len() + 4);
    append(&mut buffer, message);
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one frame of at most `bytes_max` bytes and not a byte more. Not cancel safe.
///
/// # Errors
/// All of [`FrameError`]; the connection is of no further use.
pub async fn read<M: Message + Default>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: u32,
) -> Result<M, FrameError> {
    let length = stream.read_u32().await?;
    if length > bytes_max.min(FRAME_BYTES_MAX) {
        return Err(FrameError::TooLarge(length));
    }
    let mut buffer = vec![0; length as usize];
    stream.read_exact(&mut buffer).await?;
    Ok(M::decode(buffer.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Open, Opened};

    #[tokio::test]
    async fn a_frame_reads_back_and_leaves_what_follows() {
        let open = Open { service: "web".into(), request_id: "r".into(), client: String::new() };
        let mut bytes = Vec::new();
        append(&mut bytes, &open);
        bytes.extend_from_slice(b"rest");
        let mut stream = bytes.as_slice();
        assert_eq!(read::<Open>(&mut stream, 1024).await.expect("a whole frame"), open);
        assert_eq!(stream, b"rest");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_or_cut_is_refused() {
        let mut large = [0xff; 8].as_slice();
        assert!(matches!(read::<Opened>(&mut large, 64).await, Err(FrameError::TooLarge(u32::MAX))));
        let mut cut = [0, 0, 0, 9, 1].as_slice();
        assert!(matches!(read::<Opened>(&mut cut, 64).await, Err(FrameError::Io(_))));
        let mut bad = [0, 0, 0, 1, 0xff].as_slice();
        assert!(matches!(read::<Opened>(&mut bad, 64).await, Err(FrameError::Malformed(_))));
    }
}
