// SPDX-License-Identifier: GPL-2.0

//! The tree of counted elements, against a model.

#![expect(clippy::indexing_slicing, reason = "a test may fail so")]

use super::{
    arc_tree::{ArcLinked, ArcTree, Entry, Place},
    forest::Hashed,
    rb::{Linked, Links},
};
use core::mem::offset_of;
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};

/// An element as the stable tree has them: a checksum, and content.
struct Element {
    links: Links,
    in_tree: Atomic<bool>,
    checksum: u64,
    content: u64,
}

// SAFETY: `OFFSET` is that of the field that nothing but the tree uses.
unsafe impl Linked for Element {
    const OFFSET: usize = offset_of!(Element, links);
}

// SAFETY: It is constant.
unsafe impl Hashed for Element {
    fn hash(&self) -> u64 {
        self.checksum
    }
}

// SAFETY: The trees of a test are on the stack of its one thread.
unsafe impl ArcLinked for Element {
    fn in_tree(&self) -> &Atomic<bool> {
        &self.in_tree
    }
}

fn element(checksum: u64, content: u64) -> Result<Arc<Element>> {
    Ok(Arc::new(
        Element {
            links: Links::new(),
            in_tree: Atomic::new(false),
            checksum,
            content,
        },
        GFP_KERNEL,
    )?)
}

fn find(tree: &mut ArcTree<Element>, checksum: u64, content: u64) -> Entry<'_, Element> {
    tree.entry(checksum, |element| {
        (checksum, content).cmp(&(element.checksum, element.content))
    })
}

fn insert(tree: &mut ArcTree<Element>, checksum: u64, content: u64) -> Result<bool> {
    let new = element(checksum, content)?;
    Ok(match find(tree, checksum, content) {
        Entry::Vacant(place) => place.insert(new).is_ok(),
        _ => false,
    })
}

/// The place where nothing is yet.
fn vacant(tree: &mut ArcTree<Element>, checksum: u64, content: u64) -> Result<Place<'_, Element>> {
    match find(tree, checksum, content) {
        Entry::Vacant(place) => Ok(place),
        Entry::Found(_) => Err(EINVAL),
    }
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

/// The elements, as pairs in order. Those of one checksum have to come so; checksums come in the order of the
/// trees that they are in.
fn listed(tree: &ArcTree<Element>) -> Result<KVec<(u64, u64)>> {
    let mut list: KVec<(u64, u64)> = KVec::new();
    let mut next = tree.first();
    while let Some(element) = next {
        if list
            .last()
            .is_some_and(|last| last.0 == element.checksum && last.1 >= element.content)
        {
            return Err(EINVAL);
        }
        list.push((element.checksum, element.content), GFP_KERNEL)?;
        next = tree.next(&element);
    }
    for end in 1..list.len() {
        let mut i = end;
        while i > 0 && list[i - 1] > list[i] {
            list.swap(i - 1, i);
            i -= 1;
        }
    }
    Ok(list)
}

#[kunit_tests(rksm_arc_tree)]
mod tests {
    use super::*;

    #[test]
    fn random_changes_agree_with_a_model() -> Result {
        // Few checksums and contents, so that each is met often and checksums are equal often.
        const SUMS: u64 = 12;
        const CONTENTS: u64 = 6;
        let mut model = [[false; CONTENTS as usize]; SUMS as usize];
        let mut tree = ArcTree::new();
        let mut numbers = Numbers(1);
        for _ in 0..4000 {
            let (sum, content) = (numbers.below(SUMS), numbers.below(CONTENTS));
            let there = &mut model[sum as usize][content as usize];
            if numbers.below(2) == 0 {
                assert_eq!(insert(&mut tree, sum, content)?, !*there);
                *there = true;
            } else {
                let found = match find(&mut tree, sum, content) {
                    Entry::Found(element) => Some(element),
                    _ => None,
                };
                assert_eq!(found.is_some(), *there);
                if let Some(element) = found {
                    assert!(tree.remove(&element));
                    assert!(!tree.remove(&element));
                }
                *there = false;
            }
        }
        let mut expected = KVec::new();
        for (sum, contents) in model.iter().enumerate() {
            for (content, there) in contents.iter().enumerate() {
                if *there {
                    expected.push((sum as u64, content as u64), GFP_KERNEL)?;
                }
            }
        }
        assert_eq!(tree.len(), expected.len());
        assert_eq!(&*listed(&tree)?, &*expected);
        Ok(())
    }

    #[test]
    fn equal_checksums_are_ordered_by_content() -> Result {
        let mut tree = ArcTree::new();
        for content in [5, 1, 3, 2, 4] {
            assert!(insert(&mut tree, 7, content)?);
        }
        assert!(!insert(&mut tree, 7, 3)?);
        assert_eq!(&*listed(&tree)?, &[(7, 1), (7, 2), (7, 3), (7, 4), (7, 5)]);
        let mut next = tree.first();
        for content in 1..=5 {
            assert_eq!(next.as_ref().map(|element| element.content), Some(content));
            next = next.and_then(|element| tree.right(&element));
        }
        assert!(next.is_none());
        Ok(())
    }

    #[test]
    fn trees_are_split_as_elements_come() -> Result {
        // Enough for several chunks of trees.
        const ELEMENTS: u64 = 6000;
        let hash = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let mut tree = ArcTree::new();
        for i in 0..ELEMENTS {
            assert!(insert(&mut tree, hash(i), i)?);
            // Each is found at any size.
            let old = i / 2;
            assert!(matches!(find(&mut tree, hash(old), old), Entry::Found(_)));
        }
        assert_eq!(tree.len() as u64, ELEMENTS);
        assert_eq!(listed(&tree)?.len() as u64, ELEMENTS);
        for i in 0..ELEMENTS {
            assert!(!insert(&mut tree, hash(i), i)?);
            match find(&mut tree, hash(i), i) {
                Entry::Found(element) => assert!(tree.remove(&element)),
                _ => assert!(false),
            }
            assert!(matches!(find(&mut tree, hash(i), i), Entry::Vacant(_)));
        }
        assert_eq!(tree.len(), 0);
        assert!(tree.first().is_none());
        Ok(())
    }

    #[test]
    fn nothing_is_put_where_it_does_not_belong() -> Result {
        let mut tree = ArcTree::new();
        for checksum in 0..100 {
            assert!(insert(&mut tree, checksum, 0)?);
        }
        let new = element(7, 1)?;
        assert!(vacant(&mut tree, 8, 1)?.insert(new.clone()).is_err());
        assert!(!new.in_tree().load(Relaxed));
        assert!(!tree.remove(&new));
        assert_eq!(tree.len(), 100);
        Ok(())
    }

    #[test]
    fn a_tree_owns_its_elements() -> Result {
        let kept = element(1, 1)?;
        let mut tree = ArcTree::new();
        let mut other = ArcTree::new();
        assert!(vacant(&mut tree, 1, 1)?.insert(kept.clone()).is_ok());
        // It can be in one tree only, and only that one takes it out.
        assert!(vacant(&mut other, 1, 1)?.insert(kept.clone()).is_err());
        assert!(insert(&mut other, 9, 9)?);
        assert!(!other.remove(&kept));
        drop(tree);
        assert!(!kept.in_tree().load(Relaxed));
        // The tree's reference is gone: ours is the last.
        assert!(Arc::into_unique_or_drop(kept).is_some());
        Ok(())
    }
}
