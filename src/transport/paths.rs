//! PURE. Paths between the gateway and its viewers: whose each of them is, and which one a viewer wants.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::wire::signal::MediaPath;

/// Paths remembered for one viewer; the oldest falls out (network changes, dual stack).
const MAX_PATHS: usize = 16;
/// Paths on which one viewer answered: each of its candidates from each of ours.
const MAX_ANSWERED: usize = 128;
/// A path that its viewer has not nominated again for this long gives way to a worse one. libwebrtc says it with every
/// check on the path that it uses, at least every 2.5 s.
const NOMINATED: Duration = Duration::from_secs(5);

/// Our address and theirs.
pub(super) type Path = (SocketAddr, SocketAddr);

/// Whose a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The viewer's number.
    pub viewer: u32,
    /// The connection that it runs over; none: the UDP socket, or an allocation.
    pub stream: Option<u64>,
}

/// What one viewer's paths are known by.
#[derive(Default)]
pub(super) struct Known {
    /// It proved itself there, oldest first.
    proved: VecDeque<Path>,
    /// It answered a check of ours there: its address is no invention, and may be sent media (RFC 8827 §6.3).
    answered: VecDeque<Path>,
}

impl Known {
    /// A check of ours was answered on a path.
    pub fn answered(&mut self, path: Path) {
        if self.answered.contains(&path) {
            return;
        }
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(path);
    }

    /// Whether one was.
    pub fn answers(&self, path: Path) -> bool {
        self.answered.contains(&path)
    }

    /// The connection of a path is gone.
    pub fn remove(&mut self, path: Path) {
        self.proved.retain(|other| *other != path);
        self.answered.retain(|other| *other != path);
    }
}

/// Every path on which a viewer proved itself.
#[derive(Default)]
pub(super) struct Paths(HashMap<Path, Owner>);

impl Paths {
    /// Whose this path is, over this connection.
    pub fn owner(&self, path: Path, stream: Option<u64>) -> Option<u32> {
        self.0.get(&path).filter(|owner| owner.stream == stream).map(|owner| owner.viewer)
    }

    /// The owner of a path, over whichever connection.
    pub fn get(&self, path: Path) -> Option<Owner> {
        self.0.get(&path).copied()
    }

    /// A viewer proved itself on a path.
    pub fn prove(&mut self, path: Path, stream: Option<u64>, viewer: u32, known: &mut Known) {
        let before = self.0.insert(path, Owner { viewer, stream });
        if before.is_some_and(|owner| owner.viewer == viewer) {
            // Proved again and again it stays, whatever else comes.
            known.proved.retain(|other| *other != path);
        }
        known.proved.push_back(path);
        if known.proved.len() > MAX_PATHS
            && let Some(oldest) = known.proved.pop_front()
            && self.get(oldest).is_some_and(|owner| owner.viewer == viewer)
        {
            self.0.remove(&oldest);
        }
    }

    /// The connection of a path is gone.
    pub fn remove(&mut self, path: Path) {
        self.0.remove(&path);
    }

    /// A viewer is gone. A path may be another one's by now: ports are used again.
    pub fn forget(&mut self, viewer: u32) {
        self.0.retain(|_, owner| owner.viewer != viewer);
    }
}

/// The path that a viewer wants.
///
/// `rtc` 0.21 stays for good with the pair that was nominated first: often TURN over TCP, which is checked at the same
/// time as UDP. Browsers nominate again whenever a better pair works. libwebrtc does so on one pair at a time; with
/// aggressive nomination (RFC 5245 §8.1.1.2, Firefox) every check does, and the best of them is meant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nomination(Option<(Path, MediaPath, Instant)>);

impl Nomination {
    /// A check on this path said that it is to be used.
    pub fn nominate(&mut self, path: Path, kind: MediaPath, now: Instant) {
        let stays = self.0.is_some_and(|(old, old_kind, at)| {
            old != path && old_kind < kind && now.saturating_duration_since(at) < NOMINATED
        });
        if !stays {
            self.0 = Some((path, kind, now));
        }
    }

    /// This path is gone: whichever is nominated next is better.
    pub fn forget(&mut self, path: Path) {
        self.0.take_if(|(nominated, ..)| *nominated == path);
    }

    /// The path, once there was a nomination.
    pub fn path(&self) -> Option<Path> {
        self.0.map(|(path, ..)| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        (([10, 0, 0, 1], 8080).into(), ([10, 0, 0, 2], port).into())
    }

    #[test]
    fn the_best_nominated_path_is_used_while_it_is_nominated() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut nomination = Nomination::default();
        let mut then = |port, kind, seconds| {
            nomination.nominate(path(port), kind, at(seconds));
            nomination.path().unwrap().1.port()
        };
        assert_eq!(then(1, MediaPath::TurnTcp, 0), 1);
        assert_eq!(then(2, MediaPath::Udp, 0), 2, "better");
        assert_eq!(then(1, MediaPath::TurnTcp, 1), 2, "worse");
        assert_eq!(then(2, MediaPath::Udp, 3), 2);
        assert_eq!(then(1, MediaPath::TurnTcp, 7), 2, "still nominated 4 s ago");
        assert_eq!(then(1, MediaPath::TurnTcp, 8), 1, "no longer");
        assert_eq!(then(2, MediaPath::Udp, 8), 2, "back again");
        assert_eq!(then(3, MediaPath::Udp, 8), 3, "of equal ones, the last");
    }

    #[test]
    fn a_path_is_its_viewers_over_the_connection_that_it_proved_itself_on() {
        let mut paths = Paths::default();
        let mut known = Known::default();
        paths.prove(path(1), None, 7, &mut known);
        assert_eq!(paths.owner(path(1), None), Some(7));
        paths.prove(path(1), Some(3), 7, &mut known);
        assert_eq!((paths.owner(path(1), Some(3)), paths.owner(path(1), None)), (Some(7), None));
        assert_eq!(known.proved.len(), 1);
        for port in 2..100 {
            paths.prove(path(port), None, 7, &mut known);
            paths.prove(path(1), Some(3), 7, &mut known);
        }
        assert_eq!(paths.owner(path(1), Some(3)), Some(7), "what proves itself again does not fall out");
        paths.prove(path(1), None, 8, &mut Known::default());
        paths.forget(7);
        assert_eq!(paths.owner(path(1), None), Some(8));
    }

    #[test]
    fn what_is_known_of_one_viewer_is_bounded() {
        let mut paths = Paths::default();
        let mut known = Known::default();
        for port in 1..1_000 {
            paths.prove(path(port), None, 7, &mut known);
            known.answered(path(port));
            known.answered(path(port));
            assert!(known.answers(path(port)));
        }
        assert_eq!(
            (paths.0.len(), known.proved.len(), known.answered.len()),
            (MAX_PATHS, MAX_PATHS, MAX_ANSWERED)
        );
        known.remove(path(999));
        assert!(!known.answers(path(999)));
    }
}
