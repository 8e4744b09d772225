//! Frames of the protocol `tidewatch.v1`.
