//! `deskgate session` and `kubectl vdi`, the real program against the real API server. The tests write the status as
//! the operator does.

mod ends;
mod links;
mod logs;
mod makes;
mod stage;
