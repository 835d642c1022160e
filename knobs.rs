// SPDX-License-Identifier: GPL-2.0

//! What user space writes to a knob, as a value. The in-tree KSM accepts the same.
//!
//! Input comes without its line feed. Whatever else is wrong with it, also a number that is too
//! large, is `EINVAL`: none of these functions fails in another way.

use crate::control::Run;
use kernel::{prelude::*, str::kstrtobool_bytes};

/// A decimal number, which may begin with a plus sign, as `kstrtouint()` takes it.
pub(crate) fn uint(text: &[u8]) -> Result<u32> {
    // That is what Rust takes as well: no sign but this, no blanks, no other base, no empty text.
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.parse().map_err(|_| EINVAL)
}

/// Yes or no by the first letter or two, as `kstrtobool()` takes it.
pub(crate) fn boolean(text: &[u8]) -> Result<bool> {
    kstrtobool_bytes(text)
}

/// The number of a [`Run`].
pub(crate) fn run(text: &[u8]) -> Result<Run> {
    uint(text)?.try_into()
}

#[kunit_tests(rksm_knobs)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: [(&[u8], Result<u32>); 24] = [
            (b"0", Ok(0)),
            (b"1", Ok(1)),
            (b"+1", Ok(1)),
            (b"007", Ok(7)),
            (b"100", Ok(100)),
            (b"4294967295", Ok(u32::MAX)),
            (b"+4294967295", Ok(u32::MAX)),
            (b"0000000000000000000001", Ok(1)),
            (b"4294967296", Err(EINVAL)),
            (b"18446744073709551616", Err(EINVAL)),
            (b"99999999999999999999999999", Err(EINVAL)),
            (b"", Err(EINVAL)),
            (b"+", Err(EINVAL)),
            (b"-", Err(EINVAL)),
            (b"-0", Err(EINVAL)),
            (b"-1", Err(EINVAL)),
            (b"++1", Err(EINVAL)),
            (b" 1", Err(EINVAL)),
            (b"1 ", Err(EINVAL)),
            (b"1\n", Err(EINVAL)),
            (b"1 2", Err(EINVAL)),
            (b"0x10", Err(EINVAL)),
            (b"1e3", Err(EINVAL)),
            (b"\xff", Err(EINVAL)),
        ];
        for (text, expected) in cases {
            assert_eq!(uint(text), expected);
        }
    }

    #[test]
    fn booleans() {
        let yes: [&[u8]; 9] = [
            b"1",
            b"y",
            b"Y",
            b"yes",
            b"t",
            b"true",
            b"on",
            b"On",
            b"1garbage",
        ];
        for text in yes {
            assert_eq!(boolean(text), Ok(true));
        }
        let no: [&[u8]; 8] = [b"0", b"n", b"N", b"no", b"f", b"off", b"OFF", b"0garbage"];
        for text in no {
            assert_eq!(boolean(text), Ok(false));
        }
        let invalid: [&[u8]; 8] = [b"", b"2", b"-1", b"o", b"ox", b" 1", b"+1", b"\xff"];
        for text in invalid {
            assert_eq!(boolean(text), Err(EINVAL));
        }
    }

    #[test]
    fn runs() {
        let cases: [(&[u8], Result<Run>); 8] = [
            (b"0", Ok(Run::Stop)),
            (b"1", Ok(Run::Merge)),
            (b"2", Ok(Run::Unmerge)),
            (b"+2", Ok(Run::Unmerge)),
            (b"3", Err(EINVAL)),
            (b"4294967297", Err(EINVAL)),
            (b"-1", Err(EINVAL)),
            (b"", Err(EINVAL)),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text), expected);
        }
    }
}
