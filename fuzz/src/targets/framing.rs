//! Streams: however they come in, they are cut into the same messages.

use deskgate::transport::framing::{Framing, FramingError, MAX_MESSAGE};

/// First byte: how it is framed. Second: how many bytes come at once.
pub fn run(data: &[u8]) {
    let [kind, pace, stream @ ..] = data else { return };
    let framing = if kind & 1 == 0 { Framing::Turn } else { Framing::Ice };
    let whole = cut(framing, [stream].into_iter());
    assert_eq!(whole, cut(framing, stream.chunks(usize::from(*pace) + 1)), "in chunks of {}", *pace + 1);
    let mut written = Vec::new();
    for message in &whole.0 {
        assert!(message.len() <= MAX_MESSAGE);
        written.extend(framing.prefix(message).into_iter().flatten());
        written.extend(message);
        if framing == Framing::Turn {
            written.resize(written.len().next_multiple_of(4), 0);
        }
    }
    let again = cut(framing, [&written[..]].into_iter());
    assert_eq!((&again.0, again.1), (&whole.0, None), "written and read again");
}

/// As `Streams` does it.
fn cut<'a>(framing: Framing, chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut messages, mut waiting) = (Vec::new(), Vec::new());
    for chunk in chunks {
        waiting.extend(chunk);
        let mut start = 0;
        loop {
            match framing.next(&waiting[start..]) {
                Ok(Some(frame)) => {
                    assert!(frame.message.end <= frame.end && frame.end > 0);
                    messages.push(waiting[start..][frame.message].to_vec());
                    start += frame.end;
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        waiting.drain(..start);
        assert!(waiting.len() < MAX_MESSAGE + 4, "more than a message waits");
    }
    (messages, None)
}
