//! The power fails at every call.
