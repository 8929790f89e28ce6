use std::io::{Read, Write};

use super::super::carrier::tests::{pair, sockets};
use super::*;

trait End: Read + Write {}

impl<T: Read + Write> End for T {}

/// A bare connection and one inside TLS, each with its other end.
fn both() -> [(bool, Carrier, Box<dyn End>); 2] {
    let (near, far) = sockets();
    let (carrier, client) = pair();
    [(false, Carrier::plain(near), Box::new(far)), (true, carrier, Box::new(client))]
}

fn accepted(carrier: Carrier, early: &[u8]) -> Accepted {
    Accepted { carrier, framing: Framing::Turn, early: early.to_vec(), place: Box::new(()) }
}

/// ChannelData of this many bytes.
fn message(length: u16) -> Vec<u8> {
    [&[0x40, 0][..], &length.to_be_bytes(), &vec![7; usize::from(length)]].concat()
}

/// Serves every connection, as if each had something to say, until `done`.
fn serve(streams: &mut Streams, now: Instant, mut done: impl FnMut(&Streams, &[(Source, Vec<u8>)]) -> bool) {
    let mut heard = Vec::new();
    while !done(streams, &heard) {
        let all = streams.waiting().map(|(id, ..)| id).collect();
        streams.set_ready(all);
        streams.serve(now, |source, bytes| heard.push((source, bytes.to_vec())));
    }
}

fn only(streams: &Streams) -> u64 {
    streams.waiting().next().unwrap().0
}

#[test]
fn messages_arrive_whole_whatever_was_read_before() {
    for (tls, carrier, mut client) in both() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        let (first, second) = (message(8), message(1_200));
        let early = [&first[..], &second[..3]].concat();
        streams.add(accepted(carrier, &early), now).unwrap();
        client.write_all(&second[3..]).unwrap();
        client.flush().unwrap();
        serve(&mut streams, now, |_, heard| {
            assert!(heard.iter().all(|(source, _)| source.tls == tls));
            heard.len() == 2 && heard.iter().map(|(_, m)| m).eq([&first, &second])
        });
        let id = only(&streams);
        streams.send(id, &first, now);
        streams.flush(now);
        let mut got = vec![0; first.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, first);
        drop(client);
        serve(&mut streams, now, |streams, _| streams.streams.is_empty());
        assert_eq!(streams.take_closed().len(), 1);
    }
}

#[test]
fn who_does_not_read_falls_behind_at_once_and_is_closed_in_the_end() {
    for (tls, carrier, mut client) in both() {
        let (mut streams, start) = (Streams::default(), Instant::now());
        // The kernel's own buffers would hide what waits.
        SockRef::from(carrier.socket()).set_send_buffer_size(16 << 10).unwrap();
        streams.add(accepted(carrier, &[]), start).unwrap();
        let (id, frame) = (only(&streams), vec![7; 1 << 10]);
        while !streams.is_behind(id, start + BEHIND * 2) {
            streams.send(id, &frame, start);
            streams.flush(start);
        }
        assert!(!streams.is_behind(id, start + BEHIND), "what has just come is not late");
        // Nothing but what one record holds has left the queue without being with the kernel.
        let queue = &streams.streams[&id].queue;
        assert_eq!(queue.bytes.len() as u64, queue.queued - queue.taken);
        assert!(queue.bytes.len() <= 17 << 10, "TLS: {tls}, {}", queue.bytes.len());
        let nothing = |_: Source, _: &[u8]| {};
        streams.serve(start + DEAF - BEHIND, nothing);
        assert_eq!(streams.take_closed(), []);
        streams.serve(start + DEAF, nothing);
        assert_eq!(streams.take_closed().len(), 1);
        // All that was taken arrives, and then the end.
        let mut got = Vec::new();
        let ended = client.read_to_end(&mut got);
        assert!(got.len() as u64 > 1 << 10 && got.iter().all(|b| *b == 7), "{ended:?}");
    }
}

#[test]
fn a_megabyte_that_nobody_takes_ends_it() {
    for (_, carrier, _client) in both() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        streams.add(accepted(carrier, &[]), now).unwrap();
        let id = only(&streams);
        for _ in 0..=MAX_WAITING >> 10 {
            streams.send(id, &[7; 1 << 10], now);
        }
        assert_eq!(streams.take_closed().len(), 1);
    }
}

#[test]
fn who_takes_a_little_is_kept_and_loses_nothing() {
    for (tls, carrier, mut client) in both() {
        let (mut streams, mut now) = (Streams::default(), Instant::now());
        SockRef::from(carrier.socket()).set_send_buffer_size(16 << 10).unwrap();
        streams.add(accepted(carrier, &[]), now).unwrap();
        let (id, mut sent, mut read) = (only(&streams), 0, 0);
        while streams.streams[&id].queue.bytes.len() < 64 << 10 {
            streams.send(id, &[7; 1 << 10], now);
            streams.flush(now);
            sent += 1 << 10;
        }
        let mut buffer = vec![0; 8 << 10];
        while read < sent {
            let count = client.read(&mut buffer).unwrap();
            assert!(count > 0, "TLS: {tls}: closed after {read} of {sent}");
            read += count;
            streams.flush(now);
            now += DEAF - BEHIND;
            streams.serve(now, |_, _| {});
        }
        assert_eq!(streams.take_closed(), []);
    }
}

#[test]
fn who_proves_nothing_within_10_s_is_closed_however_busy() {
    for (_, carrier, mut client) in both() {
        let (mut streams, start) = (Streams::default(), Instant::now());
        streams.add(accepted(carrier, &[]), start).unwrap();
        for second in 0..10 {
            client.write_all(&[0, 1]).unwrap();
            streams.expire(start + Duration::from_secs(second), |_| false);
        }
        streams.expire(start + PROVE, |_| true);
        assert_eq!(streams.take_closed(), []);
        streams.expire(start + PROVE, |_| false);
        assert_eq!(streams.take_closed().len(), 1);
    }
}

#[test]
fn a_message_longer_than_any_closes_the_connection() {
    for (_, carrier, mut client) in both() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        streams.add(Accepted { framing: Framing::Ice, ..accepted(carrier, &[0, 3, 1]) }, now).unwrap();
        client.write_all(&[2, 3, 0xff, 0xff]).unwrap();
        client.flush().unwrap();
        serve(&mut streams, now, |streams, heard| {
            assert!(heard.iter().all(|(_, message)| message == &[1, 2, 3]));
            streams.streams.is_empty() && heard.len() == 1
        });
        assert_eq!(streams.take_closed().len(), 1);
    }
}
