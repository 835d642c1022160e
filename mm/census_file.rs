// SPDX-License-Identifier: GPL-2.0

//! The file `domains`: the census, a line for each domain, for root to read.
//!
//! An attribute of sysfs has no more than a page, which some sixty domains fill. A binary one is read piece by piece,
//! and nothing is kept between two of them: each line is as long as the others, so that where a piece begins says with
//! which line. A reader for whom domains come or go meanwhile may find one twice, or not at all, but each line is whole.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::{
    census::{Census, Line},
    kobject::Directory,
};
use core::{
    fmt::{self, Write as _},
    iter,
    ptr::NonNull,
    slice, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    str::Formatter,
    sync::Arc, //
};

/// How long a line is, with the line feed.
const WIDTH: usize = 128;

/// The file as the kernel knows it.
///
/// # Invariants
///
/// `raw` is in sysfs, its callback is that of this type, and its `private` is `census`.
pub(crate) struct CensusFile {
    raw: KBox<bindings::bin_attribute>,
    kobj: NonNull<bindings::kobject>,
    _census: Arc<Census>,
}

// SAFETY: A kobject and an attribute may be used by any thread, and so may the census.
unsafe impl Send for CensusFile {}

// SAFETY: As above.
unsafe impl Sync for CensusFile {}

impl CensusFile {
    /// Makes it in `directory`, which outlives it.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`.
    /// - `EEXIST` if something of that name is there.
    pub(crate) fn new<S: Send + Sync>(
        directory: &Directory<S>,
        census: Arc<Census>,
    ) -> Result<Self> {
        let mut raw = KBox::new(pin_init::zeroed::<bindings::bin_attribute>(), GFP_KERNEL)?;
        raw.attr.name = c"domains".as_char_ptr();
        raw.attr.mode = 0o400;
        // As for other files made at run time.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        {
            raw.attr.key = kernel::static_lock_class!().as_ptr();
        }
        raw.private = (&raw const *census).cast_mut().cast();
        raw.read = Some(Self::read);
        let kobj = directory.kobj();
        // SAFETY: The kobject is in sysfs. The attribute, and what its callback uses, are kept until it is removed.
        to_result(unsafe { bindings::sysfs_create_bin_file(kobj.as_ptr(), &raw const *raw) })?;
        // INVARIANT: It was just made so.
        Ok(Self {
            raw,
            kobj,
            _census: census,
        })
    }

    /// # Safety
    ///
    /// `raw` is that of a `CensusFile`, which is being read, and `buffer` has `len` bytes that the kernel has initialised.
    unsafe extern "C" fn read(
        _file: *mut bindings::file,
        _kobj: *mut bindings::kobject,
        raw: *const bindings::bin_attribute,
        buffer: *mut c_char,
        from: bindings::loff_t,
        len: usize,
    ) -> isize {
        // SAFETY: By the contract the attribute is valid.
        let census = unsafe { (*raw).private }.cast_const().cast::<Census>();
        // SAFETY: By the type invariant this is the census, which is kept while a callback runs.
        let census = unsafe { &*census };
        // SAFETY: By the contract, and it is this call's alone.
        let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        // It is not negative. The number of bytes is at most `len`, which the kernel takes to be a page at most.
        put(census, buffer, from as usize) as isize
    }
}

impl Drop for CensusFile {
    fn drop(&mut self) {
        // Waits for callbacks that run, and no other begins.
        //
        // SAFETY: The attribute is in sysfs by the type invariant, and the kobject is kept by the directory, which is
        // dropped later.
        unsafe { bindings::sysfs_remove_bin_file(self.kobj.as_ptr(), &raw const *self.raw) };
    }
}

/// Puts what there is from byte `from` on into `buffer`. Returns how many bytes that are.
fn put(census: &Census, buffer: &mut [u8], from: usize) -> usize {
    let (first, mut skip) = (from / WIDTH, from % WIDTH);
    let mut written = 0;
    // The method's name is also one of `pin_init`'s.
    let lines = Iterator::chain(iter::once(None), census.lines().map(Some));
    for line in lines.skip(first) {
        let text = padded(|out| match &line {
            None => Line::head(out),
            Some(line) => line.put(out),
        });
        for (to, byte) in buffer.iter_mut().skip(written).zip(text.iter().skip(skip)) {
            *to = *byte;
            written += 1;
        }
        skip = 0;
        if written >= buffer.len() {
            break;
        }
    }
    written
}

/// What `write` writes, as a line. What is too long is cut.
fn padded(write: impl FnOnce(&mut Formatter<'_>) -> fmt::Result) -> [u8; WIDTH] {
    let mut line = [b' '; WIDTH];
    if let Some((feed, text)) = line.split_last_mut() {
        *feed = b'\n';
        let _cut = write(&mut Formatter::new(text));
    }
    line
}

#[kunit_tests(rksm_census_file)]
mod tests {
    use super::*;
    use crate::mm::domain::Domain;

    #[test]
    fn pieces_of_any_size_are_the_whole() -> Result {
        let census = Census::new()?;
        let mut members = KVec::new();
        for id in 0..40 {
            members.push(census.join(Domain::cgroup(id * id), 0)?, GFP_KERNEL)?;
        }
        let mut whole = KVec::from_elem(0, 50 * WIDTH, GFP_KERNEL)?;
        let len = put(&census, &mut whole, 0);
        assert_eq!(len, 41 * WIDTH);
        assert!(whole
            .iter()
            .take(len)
            .skip(WIDTH - 1)
            .step_by(WIDTH)
            .all(|byte| *byte == b'\n'));
        let last = whole.iter().take(len).skip(40 * WIDTH);
        assert!(last.copied().eq(padded(|out| write!(
            out,
            "{:>9} {:>14} {:>14} {:>14} cgroup:1521",
            1, 0, 0, 0
        ))));
        for size in [1, 7, WIDTH, WIDTH + 1, 4096] {
            let mut piece = KVec::from_elem(0, size, GFP_KERNEL)?;
            let mut at = 0;
            loop {
                let got = put(&census, &mut piece, at);
                assert!(piece.iter().take(got).eq(whole.iter().skip(at).take(got)));
                at += got;
                if got == 0 {
                    break;
                }
            }
            assert_eq!(at, len);
        }
        Ok(())
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let line = padded(|out| (0..WIDTH).try_for_each(|_| out.write_str("x")));
        let (last, text) = line.split_last().unwrap_or((&0, &[]));
        assert_eq!(*last, b'\n');
        assert!(text.iter().all(|byte| *byte == b'x'));
    }
}
