//! Messages of the page, and of the gateway: what was read, written and read again is the same.

use deskgate::wire::input::InputFrame;
use deskgate::wire::media::acknowledged;
use deskgate::wire::signal::{ClientMessage, ServerMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn run(data: &[u8]) {
    if let Some(message) = again::<ClientMessage>(data, |message| *message == ClientMessage::Unknown) {
        assert_ne!(message, ClientMessage::Unknown);
    }
    again::<ServerMessage>(data, |_| false);
    if let Ok(frame) = InputFrame::parse(data) {
        let written = frame.encode();
        assert_eq!(InputFrame::parse(&written), Ok(frame), "written and read again");
        assert!(written.len() <= data.len());
        assert_eq!(acknowledged(data), None, "kinds differ by their first byte");
    }
    if let Some(number) = acknowledged(data) {
        assert_eq!(data[1..], number.to_be_bytes());
    }
}

/// The message, unless it is one that is never written.
fn again<T>(data: &[u8], unwritten: impl Fn(&T) -> bool) -> Option<T>
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let message: T = serde_json::from_slice(data).ok()?;
    if unwritten(&message) {
        return None;
    }
    let written = serde_json::to_string(&message).expect("what was read can be written");
    let read: T = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(read, message, "{written}");
    Some(message)
}
