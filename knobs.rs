// SPDX-License-Identifier: GPL-2.0

//! What user space writes to a knob, as a value. The in-tree KSM accepts the same.
//!
//! Input comes without its line feed. Whatever else is wrong with it, also a number that is too
//! large, is `EINVAL`: none of these functions fails in another way.

use crate::{
    advisor::Mode,
    control::{Run, MOST_SCANNERS},
    settings::{Content, Scope, Within},
};
use core::str::FromStr;
use kernel::{prelude::*, str::kstrtobool_bytes};

/// A decimal number, which may begin with a plus sign, as `kstrtouint()` and its like take it.
pub(crate) fn number<T: FromStr>(text: &[u8]) -> Result<T> {
    // That is what Rust takes as well: no sign but this, no blanks, no other base, no empty text.
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.parse().map_err(|_| EINVAL)
}

/// Yes or no by the first letter or two, as `kstrtobool()` takes it.
pub(crate) fn boolean(text: &[u8]) -> Result<bool> {
    kstrtobool_bytes(text)
}

/// A number that is 0 or 1.
pub(crate) fn zero_or_one(text: &[u8]) -> Result<bool> {
    match number(text)? {
        0_u32 => Ok(false),
        1 => Ok(true),
        _ => Err(EINVAL),
    }
}

/// The same; `None`: something else decides.
pub(crate) fn zero_one_or_auto(text: &[u8]) -> Result<Option<bool>> {
    match text {
        b"auto" => Ok(None),
        _ => zero_or_one(text).map(Some),
    }
}

/// A number of seconds that is not 0.
pub(crate) fn positive(text: &[u8]) -> Result<u64> {
    number(text).and_then(|number| match number {
        0 => Err(EINVAL),
        _ => Ok(number),
    })
}

/// How many may share a page: a number as `kstrtoint()` takes it, and not less than it takes to
/// merge.
pub(crate) fn sharing(text: &[u8]) -> Result<u32> {
    let number: i32 = number(text)?;
    if number < 2 {
        return Err(EINVAL);
    }
    Ok(number.unsigned_abs())
}

/// A number of scanners.
pub(crate) fn scanners(text: &[u8]) -> Result<u32> {
    match number(text)? {
        scanners @ 1..=MOST_SCANNERS => Ok(scanners),
        _ => Err(EINVAL),
    }
}

/// The number of a process.
pub(crate) fn process(text: &[u8]) -> Result<i32> {
    match number(text)? {
        pid @ 1.. => Ok(pid),
        _ => Err(EINVAL),
    }
}

/// The name of an advisor.
pub(crate) fn advisor(text: &[u8]) -> Result<Mode> {
    match text {
        b"none" => Ok(Mode::None),
        b"scan-time" => Ok(Mode::ScanTime),
        b"pressure" => Ok(Mode::Pressure),
        _ => Err(EINVAL),
    }
}

/// A share of a whole.
pub(crate) fn percent(text: &[u8]) -> Result<u32> {
    match number(text)? {
        percent @ 0..=100 => Ok(percent),
        _ => Err(EINVAL),
    }
}

/// The name of a scope.
pub(crate) fn scope(text: &[u8]) -> Result<Scope> {
    match text {
        b"madvise" => Ok(Scope::Madvise),
        b"all" => Ok(Scope::All),
        _ => Err(EINVAL),
    }
}

/// Which pages are merged.
pub(crate) fn content(text: &[u8]) -> Result<Content> {
    match text {
        b"all" => Ok(Content::All),
        b"zero" => Ok(Content::Zero),
        _ => Err(EINVAL),
    }
}

/// With whose pages a page is merged; `None`: the scope decides.
pub(crate) fn domain(text: &[u8]) -> Result<Option<Within>> {
    match text {
        b"auto" => Ok(None),
        b"all" => Ok(Some(Within::All)),
        b"user" => Ok(Some(Within::User)),
        b"cgroup" => Ok(Some(Within::Cgroup)),
        b"process" => Ok(Some(Within::Process)),
        _ => Err(EINVAL),
    }
}

/// The number of a [`Run`].
pub(crate) fn run(text: &[u8]) -> Result<Run> {
    number::<u32>(text)?.try_into()
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
            assert_eq!(number(text), expected);
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
    fn long_numbers() {
        assert_eq!(number(b"18446744073709551615"), Ok(u64::MAX));
        for text in [&b"18446744073709551616"[..], b"-1", b"", b"1 ", b"0x1"] {
            assert_eq!(number::<u64>(text), Err(EINVAL));
        }
    }

    #[test]
    fn zeroes_and_ones() {
        assert_eq!(zero_or_one(b"0"), Ok(false));
        assert_eq!(zero_or_one(b"+1"), Ok(true));
        for text in [&b"2"[..], b"y", b"on", b"", b"-1"] {
            assert_eq!(zero_or_one(text), Err(EINVAL));
        }
    }

    #[test]
    fn limits() {
        assert_eq!(positive(b"1"), Ok(1));
        assert_eq!(positive(b"0"), Err(EINVAL));
        assert_eq!(positive(b"-1"), Err(EINVAL));
        assert_eq!(sharing(b"2"), Ok(2));
        assert_eq!(sharing(b"2147483647"), Ok(i32::MAX.unsigned_abs()));
        for text in [&b"1"[..], b"0", b"-2", b"2147483648", b""] {
            assert_eq!(sharing(text), Err(EINVAL));
        }
    }

    #[test]
    fn numbers_of_scanners() {
        assert_eq!(scanners(b"1"), Ok(1));
        assert_eq!(scanners(b"16"), Ok(16));
        for text in [&b"0"[..], b"17", b"-1", b"", b"two", b"4294967297"] {
            assert_eq!(scanners(text), Err(EINVAL));
        }
    }

    #[test]
    fn processes() {
        assert_eq!(process(b"1"), Ok(1));
        assert_eq!(process(b"4194304"), Ok(4_194_304));
        for text in [&b"0"[..], b"-1", b"", b"self", b"2147483648", b"1 2"] {
            assert_eq!(process(text), Err(EINVAL));
        }
    }

    #[test]
    fn advisors() {
        assert_eq!(advisor(b"none"), Ok(Mode::None));
        assert_eq!(advisor(b"scan-time"), Ok(Mode::ScanTime));
        assert_eq!(advisor(b"pressure"), Ok(Mode::Pressure));
        for text in [
            &b""[..],
            b"None",
            b"scan-time ",
            b"scan",
            b"pressure ",
            b"[none] scan-time pressure",
        ] {
            assert_eq!(advisor(text), Err(EINVAL));
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(percent(b"0"), Ok(0));
        assert_eq!(percent(b"100"), Ok(100));
        for text in [&b"101"[..], b"-1", b"", b"20%", b"1.5", b"4294967296"] {
            assert_eq!(percent(text), Err(EINVAL));
        }
    }

    #[test]
    fn scopes() {
        assert_eq!(scope(b"madvise"), Ok(Scope::Madvise));
        assert_eq!(scope(b"all"), Ok(Scope::All));
        for text in [&b""[..], b"All", b"all ", b"none", b"[madvise] all"] {
            assert_eq!(scope(text), Err(EINVAL));
        }
    }

    #[test]
    fn contents() {
        assert_eq!(content(b"all"), Ok(Content::All));
        assert_eq!(content(b"zero"), Ok(Content::Zero));
        for text in [&b""[..], b"Zero", b"zero ", b"0", b"[all] zero"] {
            assert_eq!(content(text), Err(EINVAL));
        }
    }

    #[test]
    fn domains() {
        assert_eq!(domain(b"auto"), Ok(None));
        assert_eq!(domain(b"all"), Ok(Some(Within::All)));
        assert_eq!(domain(b"user"), Ok(Some(Within::User)));
        assert_eq!(domain(b"cgroup"), Ok(Some(Within::Cgroup)));
        assert_eq!(domain(b"process"), Ok(Some(Within::Process)));
        for text in [&b""[..], b"User", b"user ", b"uid", b"[all] user"] {
            assert_eq!(domain(text), Err(EINVAL));
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
