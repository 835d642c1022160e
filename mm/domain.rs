// SPDX-License-Identifier: GPL-2.0

//! Domains: those whose pages may be merged with each other.

use kernel::prelude::*;

/// Who may share a page, as a number. It says exactly who is meant, and means nobody else later on: what it
/// is made of is never used again by the kernel, or by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Domain(u64);

/// Whom a domain stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    All,
    Nobody,
    /// By the numbers that the kernel gives the namespace, and the user in the first of them.
    User {
        namespace: u64,
        uid: u32,
    },
    /// By the number that the kernel gives it.
    Cgroup(u64),
    Process,
}

/// The bit that says what the bits below it are.
const PROCESS: u64 = 1 << 61;
const CGROUP: u64 = 1 << 62;
const USER: u64 = 1 << 63;

impl Domain {
    /// Whoever is in no other.
    pub(crate) const EVERYBODY: Self = Self(0);

    /// Nothing is merged with anything.
    pub(crate) const NOBODY: Self = Self(1);

    /// One address space, by a number that no other ever gets.
    pub(crate) const fn process(number: u64) -> Self {
        Self::of(PROCESS, number)
    }

    /// One memory cgroup, by the number that the kernel gives it.
    pub(crate) const fn cgroup(id: u64) -> Self {
        Self::of(CGROUP, id)
    }

    /// One user of one user namespace, by the number that the kernel gives that. `None`: after some billions of
    /// namespaces such a number has no place left.
    pub(crate) const fn user(namespace: u64, uid: u32) -> Option<Self> {
        // The cast loses nothing.
        match namespace >> (63 - u32::BITS) {
            0 => Some(Self::of(USER, namespace << u32::BITS | uid as u64)),
            _ => None,
        }
    }

    /// A number that has no place left, after some billions, gets none: that of another would be worse.
    const fn of(kind: u64, number: u64) -> Self {
        match number < kind {
            true => Self(kind | number),
            false => Self::NOBODY,
        }
    }

    /// Whether pages of the two may be merged.
    pub(crate) fn meets(self, other: Self) -> bool {
        self == other && self != Self::NOBODY
    }

    /// What a checksum is shifted by. No two domains have the same.
    pub(crate) const fn shift(self) -> u64 {
        // The fraction of the square root of 2. It is odd, so that multiplying by it can be undone;
        // neighbouring numbers come to lie far apart.
        const STEP: u64 = 0x6a09_e667_f3bc_c909;
        self.0.wrapping_mul(STEP)
    }

    /// Who is meant.
    pub(super) const fn who(self) -> Who {
        let Self(bits) = self;
        match bits.leading_zeros() {
            0 => Who::User {
                namespace: (bits & !USER) >> u32::BITS,
                uid: bits as u32,
            },
            1 => Who::Cgroup(bits & !CGROUP),
            2 => Who::Process,
            _ if bits == Self::EVERYBODY.0 => Who::All,
            _ => Who::Nobody,
        }
    }

    /// For where it is kept as a word.
    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[kunit_tests(rksm_domain)]
mod tests {
    use super::*;

    const fn of_user(namespace: u64, uid: u32) -> Domain {
        match Domain::user(namespace, uid) {
            Some(domain) => domain,
            None => Domain::NOBODY,
        }
    }

    /// Some that are all different, the first and the last of their kind among them.
    const DOMAINS: [Domain; 13] = [
        Domain::EVERYBODY,
        Domain::process(0),
        Domain::process(1),
        Domain::process((1 << 61) - 1),
        Domain::cgroup(0),
        Domain::cgroup(1),
        Domain::cgroup(1 << 61),
        Domain::cgroup((1 << 62) - 1),
        of_user(0, 0),
        of_user(0, u32::MAX),
        of_user(1, 0),
        of_user(1 << 30, 0),
        of_user((1 << 31) - 1, u32::MAX),
    ];

    #[test]
    fn each_meets_itself_and_no_other() {
        for (i, a) in DOMAINS.iter().enumerate() {
            for (j, b) in DOMAINS.iter().enumerate() {
                assert_eq!(a.meets(*b), i == j);
                let same = a.shift() == b.shift();
                assert_eq!(same, i == j);
            }
            assert!(!a.meets(Domain::NOBODY) && !Domain::NOBODY.meets(*a));
            assert!(a.shift() != Domain::NOBODY.shift());
            assert_eq!(Domain::from_bits(a.to_bits()), *a);
        }
        assert!(!Domain::NOBODY.meets(Domain::NOBODY));
    }

    #[test]
    fn who_is_meant() {
        assert_eq!(Domain::EVERYBODY.who(), Who::All);
        assert_eq!(Domain::NOBODY.who(), Who::Nobody);
        for number in [0, 1, (1 << 61) - 1] {
            assert_eq!(Domain::process(number).who(), Who::Process);
        }
        for id in [0, 1, 1 << 61, (1 << 62) - 1] {
            assert_eq!(Domain::cgroup(id).who(), Who::Cgroup(id));
        }
        for (namespace, uid) in [(0, 0), (0, u32::MAX), (3, 1000), ((1 << 31) - 1, u32::MAX)] {
            let who = of_user(namespace, uid).who();
            assert_eq!(who, Who::User { namespace, uid });
        }
    }

    #[test]
    fn everybody_is_where_the_checksum_says() {
        assert_eq!(Domain::EVERYBODY.shift(), 0);
    }

    #[test]
    fn numbers_that_have_no_place() {
        assert_eq!(Domain::process(1 << 61), Domain::NOBODY);
        assert_eq!(Domain::cgroup(1 << 62), Domain::NOBODY);
        assert_eq!(Domain::user(1 << 31, 0), None);
        assert_eq!(Domain::user(u64::MAX, 7), None);
    }
}
