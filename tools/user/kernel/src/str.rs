// SPDX-License-Identifier: GPL-2.0

//! Strings.

use crate::error::{code::EINVAL, Result};
pub use core::ffi::CStr;

pub trait CStrExt {
    fn as_char_ptr(&self) -> *const core::ffi::c_char;
}

impl CStrExt for CStr {
    fn as_char_ptr(&self) -> *const core::ffi::c_char {
        self.as_ptr()
    }
}

/// Yes or no by the first letter, or for `on` and `off` the second.
pub fn kstrtobool_bytes(text: &[u8]) -> Result<bool> {
    match text {
        [b'1' | b'y' | b'Y' | b't' | b'T', ..] => Ok(true),
        [b'0' | b'n' | b'N' | b'f' | b'F', ..] => Ok(false),
        [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(EINVAL),
    }
}
