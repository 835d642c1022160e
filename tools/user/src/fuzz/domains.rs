// SPDX-License-Identifier: GPL-2.0

//! Two domains whose pages have come to stand in one place, which does not happen but by accident: here by
//! a checksum that is made up.

use super::world::{Contents, LIMIT};
use crate::{
    books::{Books, Ledger},
    intrusive::stable_node::StableNode,
    mm::{domain::Domain, ksm_folio::KsmFolio, page::AnonPage},
};
use kernel::prelude::*;

/// Whose the merged page is, and others.
const OWN: Domain = Domain::user(1, 1000).unwrap();
const OTHERS: [Domain; 4] = [
    Domain::user(1, 1001).unwrap(),
    Domain::user(2, 1000).unwrap(),
    Domain::process(7),
    Domain::NOBODY,
];

#[test]
fn a_merged_page_of_another_domain_is_not_found() -> Result {
    let contents = Contents::new()?;
    let ledger = KBox::pin_init(Ledger::new(), GFP_KERNEL)?;
    let mut books = ledger.open();
    let Books { stable, token, .. } = &mut *books;
    stable.set_limit(LIMIT);
    let (page, node) = (AnonPage::new(1, 0)?, StableNode::new()?);
    let folio = KsmFolio::convert(&page, node.tie()).ok_or(EINVAL)?;
    let own = contents.sums_of(OWN);
    let checksum = contents.checksum(1);
    stable.insert(&own, checksum, &node, &folio, token);
    for other in OTHERS.map(|other| contents.sums_of(other)) {
        let accident = checksum
            .wrapping_add(own.place(0, 0))
            .wrapping_sub(other.place(0, 0));
        assert_eq!(other.place(accident, 0), own.place(checksum, 0));
        assert!(stable.find(&other, accident, 0, false, token).is_none());
        assert!(stable.find(&other, checksum, 0, false, token).is_none());
        assert!(!folio.read(|content| other.own(&node, content)));
    }
    let found = stable.find(&own, checksum, 0, false, token);
    assert!(found.is_some_and(|found| core::ptr::eq(&*found.node, &*node)));
    Ok(())
}

#[test]
fn one_in_a_frame_that_was_not_drawn_is_passed_over() -> Result {
    let contents = Contents::new()?;
    let ledger = KBox::pin_init(Ledger::new(), GFP_KERNEL)?;
    let mut books = ledger.open();
    let Books { stable, token, .. } = &mut *books;
    stable.set_limit(LIMIT);
    let sums = contents.sums_of(OWN);
    let checksum = contents.checksum(1);
    let (page, node) = (AnonPage::new(1, 0)?, StableNode::new()?);
    let folio = KsmFolio::convert(&page, node.tie()).ok_or(EINVAL)?;
    stable.insert(&sums, checksum, &node, &folio, token);
    assert!(stable.find(&sums, checksum, 0, true, token).is_some());
    drop(folio);
    let _moved = KsmFolio::migrate(&page, 0).ok_or(EINVAL)?;
    assert!(stable.find(&sums, checksum, 0, true, token).is_none());
    assert!(stable.find(&sums, checksum, 0, false, token).is_some());
    // A twin that was drawn is found beside it.
    let (other, twin) = (AnonPage::new(1, 0)?, StableNode::new()?);
    let folio = KsmFolio::convert(&other, twin.tie()).ok_or(EINVAL)?;
    stable.insert(&sums, checksum, &twin, &folio, token);
    let found = stable.find(&sums, checksum, 0, true, token);
    assert!(found.is_some_and(|found| core::ptr::eq(&*found.node, &*twin)));
    Ok(())
}
