//! PURE. The send stage: what waits for the socket, by urgency. It is empty unless the socket pushes back.

use std::collections::VecDeque;

use super::peer::Transmit;

/// Most datagrams of video that wait: a key frame of 4K, or two frames of many viewers. What comes on top is
/// dropped, and a key frame asked for, since a longer queue is only latency.
const MAX_VIDEO: usize = 1_024;
/// Most other datagrams that wait.
const MAX_CONTROL: usize = 1_024;

/// How urgent a datagram is; in this order they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// STUN, DTLS (and so input and messages), RTCP: small, and everything waits for it.
    Control,
    /// RTP.
    Media,
}

impl Class {
    /// A packet's, before anything is put around it.
    pub fn of(packet: &[u8]) -> Self {
        match packet {
            [128..=191, second, ..] if !(192..=223).contains(second) => Self::Media,
            _ => Self::Control,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct SendStage {
    control: VecDeque<Transmit>,
    media: VecDeque<Transmit>,
    dropped: u64,
}

impl SendStage {
    /// Adds a datagram; false if media had to be dropped.
    pub fn push(&mut self, transmit: Transmit) -> bool {
        match transmit.class {
            Class::Control => {
                if self.control.len() == MAX_CONTROL {
                    self.control.pop_front();
                    self.dropped += 1;
                }
                self.control.push_back(transmit);
                true
            }
            Class::Media if self.media.len() >= MAX_VIDEO => {
                self.dropped += 1;
                false
            }
            Class::Media => {
                self.media.push_back(transmit);
                true
            }
        }
    }

    /// The datagrams that leave next: consecutive ones of one path and size (the last may be shorter), so
    /// that they fit one segmented send. Empty when nothing waits.
    pub fn next_batch(&mut self, max: usize) -> Vec<Transmit> {
        let queue = if self.control.is_empty() { &mut self.media } else { &mut self.control };
        let mut batch: Vec<Transmit> = Vec::new();
        while let Some(next) = queue.front() {
            let fits = batch.first().is_none_or(|first| {
                batch.len() < max
                    && (next.from, next.to, next.stream) == (first.from, first.to, first.stream)
                    && next.contents.len() <= first.contents.len()
                    && batch.last().is_some_and(|last| last.contents.len() == first.contents.len())
            });
            if !fits {
                break;
            }
            batch.extend(queue.pop_front());
        }
        batch
    }

    /// Puts back what the socket did not take, in front.
    pub fn put_back(&mut self, batch: Vec<Transmit>) {
        for transmit in batch.into_iter().rev() {
            match transmit.class {
                Class::Control => self.control.push_front(transmit),
                Class::Media => self.media.push_front(transmit),
            }
        }
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.media.is_empty()
    }

    /// Datagrams dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn datagram(first: u8, len: usize) -> Transmit {
        let mut contents = BytesMut::zeroed(len);
        contents[0] = first;
        let addr = ([127, 0, 0, 1], 1).into();
        Transmit { from: addr, to: addr, class: Class::of(&contents), contents, stream: None }
    }

    #[test]
    fn control_overtakes_media() {
        let mut stage = SendStage::default();
        stage.push(datagram(128, 100));
        stage.push(datagram(22, 50));
        assert_eq!(stage.next_batch(16)[0].contents[0], 22);
        assert_eq!(stage.next_batch(16)[0].contents[0], 128);
        assert!(stage.is_empty());
    }

    #[test]
    fn a_batch_is_equal_sizes_and_one_shorter_tail() {
        let mut stage = SendStage::default();
        for len in [100, 100, 60, 100, 120] {
            stage.push(datagram(128, len));
        }
        let sizes = |b: Vec<Transmit>| b.iter().map(|t| t.contents.len()).collect::<Vec<_>>();
        assert_eq!(sizes(stage.next_batch(16)), [100, 100, 60]);
        assert_eq!(sizes(stage.next_batch(16)), [100]);
        assert_eq!(sizes(stage.next_batch(16)), [120]);
    }

    #[test]
    fn media_is_bounded_and_put_back_keeps_order() {
        let mut stage = SendStage::default();
        let taken = (0..MAX_VIDEO + 10).filter(|_| stage.push(datagram(128, 10))).count();
        assert_eq!((taken, stage.dropped()), (MAX_VIDEO, 10));
        let batch = stage.next_batch(4);
        stage.put_back(batch);
        assert_eq!(stage.media.len(), MAX_VIDEO);
    }
}
