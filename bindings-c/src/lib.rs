//! `libemberform`: Emberform for C and C++.
//!
//! The interface is `include/emberform.h`, made from these files by `header/`; `README.md` says
//! how to install it. Each function converts its arguments, calls the core and converts the
//! result:
//!
//! ```text
//! C caller -> entry (model.rs, embed.rs, ...) -> status::call  panics and errors -> ember_status
//!                     |                            |
//!                  raw.rs  pointers <-> values   handle.rs  handles <-> objects, checked
//! ```
//! All `unsafe` is in `raw.rs`. Types have the names that they have in C.
#![allow(non_camel_case_types)]

mod batch;
mod beam;
mod cancel;
mod chat;
mod device;
mod embed;
mod generate;
mod handle;
mod log;
mod model;
mod output;
mod raw;
mod session;
mod status;
mod task;
mod tokenizer;
mod words;
