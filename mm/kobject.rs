// SPDX-License-Identifier: GPL-2.0

//! Attribute files, and a directory of them in `/sys/kernel/mm`.
//!
//! The kobject of a directory is made, and freed by its release function, in the core kernel. So no code of this
//! module runs after the directory was dropped, however long somebody else holds the kobject. What
//! belongs to the module are the files: removing the directory waits for callbacks that are running
//! and lets no other begin, and after that nothing refers to them.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use core::{
    ptr::{self, NonNull},
    slice, //
};
use kernel::{
    bindings,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*,
    str::Formatter,
    sync::Arc, //
};

/// Writes the value of a file.
type Show<S> = fn(&S, &mut Formatter<'_>) -> Result;

/// Takes what was written to a file, without the line feed at its end.
type Store<S> = fn(&S, &[u8]) -> Result;

/// A file: its name and what it does to the state of its directory.
pub(crate) struct Attr<S> {
    name: &'static CStr,
    show: Option<Show<S>>,
    store: Option<Store<S>>,
}

impl<S> Attr<S> {
    /// A file that all can read.
    pub(crate) const fn read_only(name: &'static CStr, show: Show<S>) -> Self {
        Self {
            name,
            show: Some(show),
            store: None,
        }
    }

    /// A file that all can read and root can write.
    pub(crate) const fn read_write(name: &'static CStr, show: Show<S>, store: Store<S>) -> Self {
        Self {
            name,
            show: Some(show),
            store: Some(store),
        }
    }

    /// A file that root can write and nobody can read.
    pub(crate) const fn write_only(name: &'static CStr, store: Store<S>) -> Self {
        Self {
            name,
            show: None,
            store: Some(store),
        }
    }

    const fn mode(&self) -> bindings::umode_t {
        match (self.show, self.store) {
            (None, _) => 0o200,
            (_, None) => 0o444,
            (Some(_), Some(_)) => 0o644,
        }
    }
}

/// A file as the kernel knows it.
///
/// # Invariants
///
/// `raw` holds the callbacks of this very type, and comes first: the kernel calls them with a pointer
/// to it, which is a pointer to the whole. `state` is valid for as long as they can run.
#[repr(C)]
struct File<S: 'static> {
    raw: bindings::kobj_attribute,
    attr: &'static Attr<S>,
    state: *const S,
}

impl<S> File<S> {
    fn new(attr: &'static Attr<S>, state: *const S) -> Self {
        let mut raw: bindings::kobj_attribute = pin_init::zeroed();
        raw.attr.name = attr.name.as_char_ptr();
        raw.attr.mode = attr.mode();
        // A file made at run time brings a lock class, for lockdep to know it by. One does for all:
        // no callback of ours enters another.
        #[cfg(CONFIG_DEBUG_LOCK_ALLOC)]
        {
            raw.attr.key = kernel::static_lock_class!().as_ptr();
        }
        if attr.show.is_some() {
            raw.__bindgen_anon_1.show = Some(Self::show);
        }
        if attr.store.is_some() {
            raw.__bindgen_anon_2.store = Some(Self::store);
        }
        // INVARIANT: The callbacks were set above; `Files` keeps `state` alive.
        Self { raw, attr, state }
    }

    /// # Safety
    ///
    /// `raw` points to the first field of a `File<S>` that is being read, and `buffer` to a page for the
    /// output, of bytes that the kernel has initialised.
    unsafe extern "C" fn show(
        _kobj: *mut bindings::kobject,
        raw: *mut bindings::kobj_attribute,
        buffer: *mut c_char,
    ) -> isize {
        // SAFETY: `raw` is the first field of a `File<S>` by the contract of this function.
        let file = unsafe { &*raw.cast_const().cast::<Self>() };
        // SAFETY: A callback is running, so `state` is valid by the type invariant.
        let state = unsafe { &*file.state };
        // sysfs takes a full page for an overrun: one byte less is what a file can hold.
        //
        // SAFETY: The buffer is a page of initialised bytes, and this call's alone.
        let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE - 1) };

        let Some(show) = file.attr.show else {
            return errno(EACCES);
        };
        let mut output = Formatter::new(buffer);
        match show(state, &mut output) {
            // Less than a page, so it fits.
            Ok(()) => output.bytes_written() as isize,
            Err(error) => errno(error),
        }
    }

    /// # Safety
    ///
    /// `raw` points to the first field of a `File<S>` that is being written to, and `input` to `len`
    /// bytes that hold still.
    unsafe extern "C" fn store(
        _kobj: *mut bindings::kobject,
        raw: *mut bindings::kobj_attribute,
        input: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: `raw` is the first field of a `File<S>` by the contract of this function.
        let file = unsafe { &*raw.cast_const().cast::<Self>() };
        // SAFETY: A callback is running, so `state` is valid by the type invariant.
        let state = unsafe { &*file.state };
        // SAFETY: The kernel copied the input for this call.
        let input = unsafe { slice::from_raw_parts(input.cast::<u8>(), len) };

        let Some(store) = file.attr.store else {
            return errno(EACCES);
        };
        match store(state, line(input)) {
            // sysfs hands over a page at most, so it fits.
            Ok(()) => len as isize,
            Err(error) => errno(error),
        }
    }
}

/// An error as a callback returns it. A `c_int` fits into an `isize`.
fn errno(error: Error) -> isize {
    error.to_errno() as isize
}

/// What the kernel's own parsers would look at: the bytes before the first NUL, less one line feed
/// at their end.
fn line(input: &[u8]) -> &[u8] {
    let text = input.split(|byte| *byte == 0).next().unwrap_or_default();
    text.strip_suffix(b"\n").unwrap_or(text)
}

/// Files as the kernel knows them. They may be in a [`Directory`], and of a provider
/// ([`Registration`](super::provider::Registration)), which keep them for as long as callbacks can run.
///
/// # Invariants
///
/// The elements of `files` stay where they are, and point into `state`.
pub(crate) struct Files<S: Send + Sync + 'static> {
    files: KVec<File<S>>,
    // The files' callbacks use it.
    _state: Arc<S>,
}

// SAFETY: `state` may be used by any thread, and the files only point to it and to constants.
unsafe impl<S: Send + Sync> Send for Files<S> {}

// SAFETY: As above.
unsafe impl<S: Send + Sync> Sync for Files<S> {}

impl<S: Send + Sync + 'static> Files<S> {
    /// A file for each element of `attrs`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(state: Arc<S>, attrs: &'static [Attr<S>]) -> Result<Arc<Self>> {
        let mut files = KVec::with_capacity(attrs.len(), GFP_KERNEL)?;
        for attr in attrs {
            files.push(File::new(attr, &raw const *state), GFP_KERNEL)?;
        }
        // INVARIANT: They are on the heap, and nothing is added any more. The state is kept.
        let files = Self {
            files,
            _state: state,
        };
        Ok(Arc::new(files, GFP_KERNEL)?)
    }

    /// Pointers to the whole of each file, not only to its first field.
    pub(super) fn as_ptrs(&self) -> impl Iterator<Item = *mut bindings::kobj_attribute> + '_ {
        self.files
            .iter()
            .map(|file| ptr::from_ref(file).cast_mut().cast())
    }
}

/// A directory in `/sys/kernel/mm` and the files in it. Dropping it removes both; after that no
/// callback runs for it.
///
/// # Invariants
///
/// - `kobj` is in sysfs, and this value owns a reference to it.
/// - What was made in it points to what `files` has.
pub(crate) struct Directory<S: Send + Sync + 'static> {
    kobj: NonNull<bindings::kobject>,
    _files: Arc<Files<S>>,
}

// SAFETY: A kobject may be used by any thread, and so may the files.
unsafe impl<S: Send + Sync> Send for Directory<S> {}

// SAFETY: As above.
unsafe impl<S: Send + Sync> Sync for Directory<S> {}

impl<S: Send + Sync + 'static> Directory<S> {
    /// Makes a directory with `files` in it, which can be used at once.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if there is no memory, or something of that name is there already.
    /// - `EEXIST` if two of `files` have the same name.
    pub(crate) fn new(name: &CStr, files: Arc<Files<S>>) -> Result<Self> {
        // SAFETY: The variable is set once, in boot, before there are modules.
        let parent = unsafe { bindings::mm_kobj };
        // SAFETY: `name` is a C string, which is copied, and `parent` a kobject that is never freed.
        let kobj = unsafe { bindings::kobject_create_and_add(name.as_char_ptr(), parent) };
        // INVARIANT: The kobject was just added, and has no files yet. Dropped on an error below,
        // this value takes back what was made.
        let directory = Self {
            kobj: NonNull::new(kobj).ok_or(ENOMEM)?,
            _files: files.clone(),
        };

        for file in files.as_ptrs() {
            let attr = file.cast_const().cast::<bindings::attribute>();
            // SAFETY: `attr` is an attribute: it is what a file begins with. It and its callbacks'
            // state are kept until the directory is removed.
            to_result(unsafe { bindings::sysfs_create_file_ns(kobj, attr, ptr::null()) })?;
        }
        Ok(directory)
    }

    /// Where more files can be made, which are to go before it does.
    pub(super) fn kobj(&self) -> NonNull<bindings::kobject> {
        self.kobj
    }
}

impl<S: Send + Sync + 'static> Drop for Directory<S> {
    fn drop(&mut self) {
        // Removes the files as well, and waits for callbacks that run.
        //
        // SAFETY: The kobject is in sysfs by the type invariant.
        unsafe { bindings::kobject_del(self.kobj.as_ptr()) };
        // SAFETY: The reference is ours, and not used after this.
        unsafe { bindings::kobject_put(self.kobj.as_ptr()) };
        // Only now the fields drop, which the callbacks have used.
    }
}

#[kunit_tests(rksm_kobject)]
mod tests {
    use super::*;
    use kernel::sync::atomic::{Atomic, Relaxed};

    #[test]
    fn a_line_ends_where_the_kernel_says() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"", b""),
            (b"\n", b""),
            (b"1", b"1"),
            (b"1\n", b"1"),
            (b"1\n\n", b"1\n"),
            (b"1\n2", b"1\n2"),
            (b"1\n\0", b"1"),
            (b"1\0\n", b"1"),
            (b"\0\0", b""),
        ];
        for (input, expected) in cases {
            assert_eq!(line(input), expected);
        }
    }

    struct Counted<'a>(&'a Atomic<u32>);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_directory_frees_its_state_when_it_is_dropped() -> Result {
        static DROPPED: Atomic<u32> = Atomic::new(0);
        const ATTRS: &[Attr<Counted<'static>>] = &[
            Attr::read_only(c"fixed", |_, _| Ok(())),
            Attr::read_write(c"changeable", |_, _| Ok(()), |_, _| Ok(())),
        ];

        DROPPED.store(0, Relaxed);
        let state = Arc::new(Counted(&DROPPED), GFP_KERNEL)?;
        let files = Files::new(state, ATTRS)?;
        let directory = Directory::new(c"rksm_test", files.clone())?;
        drop(files);
        assert_eq!(DROPPED.load(Relaxed), 0);
        drop(directory);
        assert_eq!(DROPPED.load(Relaxed), 1);
        Ok(())
    }
}
