//! The store on real files: what is committed is loaded again, what is answered is
//! in the log, whatever is damaged is named, a full disk is waited out.
//!
//! Damage is made by truncating files and flipping bytes at places drawn from a
//! printed seed (`SEED` repeats one); a full disk by a small file system mounted for
//! the test (counted as skipped where mounting is not permitted).

mod ends;
mod folding;
mod log;
#[path = "../support/skip.rs"]
mod skip;
mod state;
mod support;
