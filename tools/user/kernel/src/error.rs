// SPDX-License-Identifier: GPL-2.0

//! Errors.

use crate::alloc::AllocError;
use std::convert::Infallible;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(i32);

pub type Result<T = (), E = Error> = core::result::Result<T, E>;

pub mod code {
    use super::Error;

    pub const ENOMEM: Error = Error(12);
    pub const ENODEV: Error = Error(19);
    pub const EINVAL: Error = Error(22);
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

pub fn to_result(status: i32) -> Result {
    match status {
        0.. => Ok(()),
        _ => Err(Error(-status)),
    }
}
