// SPDX-License-Identifier: GPL-2.0

//! How much is merged within each domain.
//!
//! An address space is counted in one domain at a time, and all merged pages that it has on record are counted
//! there with it. It is counted in another only when it has none on record. So the sum over all domains is what is
//! merged altogether, and nothing is lost when one of those who share a page goes before the other.

use super::domain::{Domain, Who};
use core::fmt;
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLock,
    },
};

/// What there is of one domain. Each number stands alone, as in the counters of all.
struct Counts {
    domain: Domain,
    /// Who was the first of it, for a domain that is one process. 0: that is not known.
    pid: i32,
    /// Address spaces. Changes with the lock of the census.
    members: Atomic<u64>,
    /// Merged pages.
    shared: Atomic<i64>,
    /// Mappings of them.
    sharers: Atomic<i64>,
    /// Zero pages on record.
    zero: Atomic<i64>,
}

/// The domains in which there is somebody.
///
/// Its lock is innermost, and nothing is allocated under it.
#[pin_data]
pub(crate) struct Census {
    #[pin]
    domains: SpinLock<RBTree<u64, Arc<Counts>>>,
}

impl Census {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                domains <- new_spinlock!(RBTree::new(), "rksm_census"),
            }),
            GFP_KERNEL,
        )
    }

    /// Counts one more in `domain`, until that is dropped. `pid` is whose it is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn join(self: &Arc<Self>, domain: Domain, pid: i32) -> Result<Member> {
        let counts = match self.find(domain) {
            Some(counts) => counts,
            None => self.found(domain, pid)?,
        };
        // INVARIANT: `find` and `found` have counted it.
        Ok(Member {
            census: self.clone(),
            counts,
        })
    }

    /// Counts one more in a domain that is there.
    fn find(&self, domain: Domain) -> Option<Arc<Counts>> {
        count_one(&self.domains.lock(), domain)
    }

    /// The same for one that was not there a moment ago.
    fn found(&self, domain: Domain, pid: i32) -> Result<Arc<Counts>> {
        let counts = Counts {
            domain,
            pid,
            members: Atomic::new(1),
            shared: Atomic::new(0),
            sharers: Atomic::new(0),
            zero: Atomic::new(0),
        };
        let counts = Arc::new(counts, GFP_KERNEL)?;
        // Declared before the guard, and so dropped after it.
        let new = RBTreeNode::new(domain.to_bits(), counts.clone(), GFP_KERNEL)?;
        let mut domains = self.domains.lock();
        if let Some(there) = count_one(&domains, domain) {
            return Ok(there);
        }
        domains.insert(new);
        Ok(counts)
    }

    /// Counts one less, and forgets the domain when that was the last.
    fn leave(&self, counts: &Counts) {
        let mut domains = self.domains.lock();
        let gone = match counts.members.load(Relaxed) {
            1 => domains.remove_node(&counts.domain.to_bits()),
            _ => None,
        };
        counts.members.add(u64::MAX, Relaxed);
        drop(domains);
        drop(gone);
    }

    /// A line for each domain that there is, without holding the lock for longer than one takes.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            let domains = self.domains.lock();
            let cursor = domains.cursor_lower_bound(&next?)?;
            let (bits, counts) = cursor.current();
            next = bits.checked_add(1);
            Some(Line(counts.clone()))
        })
    }
}

/// Counts one more, if the domain is there.
fn count_one(domains: &RBTree<u64, Arc<Counts>>, domain: Domain) -> Option<Arc<Counts>> {
    let counts = domains.get(&domain.to_bits())?;
    counts.members.add(1, Relaxed);
    Some(counts.clone())
}

/// An address space, as it is counted.
///
/// # Invariants
///
/// `counts` is in the census, and counts this.
pub(crate) struct Member {
    census: Arc<Census>,
    counts: Arc<Counts>,
}

impl Member {
    /// The domain where it is counted.
    pub(crate) fn domain(&self) -> Domain {
        self.counts.domain
    }

    /// Counts a mapping of a merged page more, which may be the `first` of it.
    pub(super) fn share(&self, first: bool) {
        self.counts.sharers.add(1, Relaxed);
        self.counts.shared.add(i64::from(first), Relaxed);
    }

    /// Counts one less, which may have been the `last`.
    pub(super) fn unshare(&self, last: bool) {
        self.counts.sharers.add(-1, Relaxed);
        self.counts.shared.add(-i64::from(last), Relaxed);
    }

    /// Counts so many zero pages more.
    pub(super) fn count_zero(&self, more: i64) {
        self.counts.zero.add(more, Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.census.leave(&self.counts);
    }
}

/// What is known of a domain, as text.
pub(crate) struct Line(Arc<Counts>);

impl Line {
    /// What stands above the lines.
    pub(crate) fn head(out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str("processes   pages_shared  pages_sharing     zero_pages domain")
    }

    /// What stands in one.
    pub(crate) fn put(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let counts = &*self.0;
        let load = |count: &Atomic<i64>| count.load(Relaxed);
        let (members, shared) = (counts.members.load(Relaxed), load(&counts.shared));
        // They are not of one moment.
        let sharing = (load(&counts.sharers) - shared).max(0);
        let zero = load(&counts.zero);
        write!(out, "{members:>9} {shared:>14} {sharing:>14} {zero:>14} ")?;
        match counts.domain.who() {
            Who::All => out.write_str("all"),
            Who::Nobody => out.write_str("none"),
            Who::User { namespace, uid } => write!(out, "user:{uid}:{namespace}"),
            Who::Cgroup(id) => write!(out, "cgroup:{id}"),
            Who::Process => write!(out, "process:{}", counts.pid),
        }
    }
}

#[kunit_tests(rksm_census)]
mod tests {
    use super::*;

    /// Of each domain: its members, merged pages and mappings of them.
    fn counts(census: &Census) -> Result<KVec<(u64, i64, i64)>> {
        let mut all = KVec::new();
        for Line(counts) in census.lines() {
            let load = |count: &Atomic<i64>| count.load(Relaxed);
            let members = counts.members.load(Relaxed);
            let count = (members, load(&counts.shared), load(&counts.sharers));
            all.push(count, GFP_KERNEL)?;
        }
        Ok(all)
    }

    #[test]
    fn a_domain_is_there_while_somebody_is_in_it() -> Result {
        let census = Census::new()?;
        assert!(counts(&census)?.is_empty());
        let one = census.join(Domain::cgroup(7), 0)?;
        let two = census.join(Domain::cgroup(7), 0)?;
        let other = census.join(Domain::EVERYBODY, 0)?;
        assert!(one.domain() == two.domain() && other.domain() == Domain::EVERYBODY);
        assert_eq!(&*counts(&census)?, &[(1, 0, 0), (2, 0, 0)]);
        drop(one);
        assert_eq!(&*counts(&census)?, &[(1, 0, 0), (1, 0, 0)]);
        drop((two, other));
        assert!(counts(&census)?.is_empty());
        Ok(())
    }

    #[test]
    fn who_leaves_first_takes_nothing_along() -> Result {
        let census = Census::new()?;
        let one = census.join(Domain::process(1), 0)?;
        let two = census.join(Domain::process(1), 0)?;
        one.share(true);
        two.share(false);
        assert_eq!(&*counts(&census)?, &[(2, 1, 2)]);
        one.unshare(false);
        drop(one);
        assert_eq!(&*counts(&census)?, &[(1, 1, 1)]);
        two.unshare(true);
        assert_eq!(&*counts(&census)?, &[(1, 0, 0)]);
        Ok(())
    }
}
