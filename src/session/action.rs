//! PURE. What the session tells the desktop to do. Only `desktop/` carries it out.

use crate::wire::input::Point;

/// One effect on the X server. Checked and clamped: rights, screen bounds and order are the session's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesktopAction {
    /// Press or release a key.
    Key {
        /// Down or up.
        down: bool,
        /// X11 keysym; 0 if only `code` is known.
        keysym: u32,
        /// Physical key (`KeyW`), or empty.
        code: String,
    },
    /// Type text, whatever keys it takes.
    Text(String),
    /// Put the pointer at.
    Motion(Point),
    /// Move the pointer by.
    Relative {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
    },
    /// Press or release a button (1..=9), the pointer being moved first if `at` is given.
    Button {
        /// X11 number.
        button: u8,
        /// Down or up.
        down: bool,
        /// Where.
        at: Option<Point>,
    },
    /// Turn the wheel, in 1/120 notches; parts of a notch are carried over.
    Wheel {
        /// To the right.
        dx: i16,
        /// Down.
        dy: i16,
        /// Where.
        at: Option<Point>,
    },
    /// Bring Caps Lock and Num Lock into this state.
    Locks {
        /// Caps Lock.
        caps: bool,
        /// Num Lock.
        num: bool,
    },
    /// Leave out text that has not been typed yet.
    ForgetText,
    /// Release every key and button held through this gateway.
    ReleaseAll,
    /// A viewer has taken control (server autorepeat goes off), or nobody has it (put back as found).
    Controlled(bool),
}
