//! The python binding of emberform. Empty for now: the interface is still being settled in Rust.
