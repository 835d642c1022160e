// SPDX-License-Identifier: GPL-2.0

//! Binary trees with the nodes of the kernel's, and its functions. They are splay trees (Sleator and
//! Tarjan, "Self-adjusting binary search trees", J. ACM 32, 1985): what is inserted or erased comes to
//! the top first. That needs no colours, and changes the shape far more often than the kernel does, so
//! that whoever relies on a shape is found out.

use core::ptr::null_mut;

#[repr(C)]
pub struct rb_node {
    /// The lower two bits are none of the address.
    pub __rb_parent_color: usize,
    pub rb_right: *mut rb_node,
    pub rb_left: *mut rb_node,
}

#[repr(C)]
pub struct rb_root {
    pub rb_node: *mut rb_node,
}

/// What is not in a tree any more points here.
const POISON: usize = 0xdead_0000_0000_0122;

/// A node or null, to be gone on with. In here all nodes are live ones of one tree, which the callers of
/// the functions below vouch for.
#[derive(Clone, Copy, PartialEq)]
struct At(*mut rb_node);

impl At {
    fn is_null(self) -> bool {
        self.0.is_null()
    }

    fn some(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }

    fn left(self) -> Self {
        // SAFETY: A live node.
        Self(unsafe { (*self.0).rb_left })
    }

    fn right(self) -> Self {
        // SAFETY: A live node.
        Self(unsafe { (*self.0).rb_right })
    }

    fn parent(self) -> Self {
        // SAFETY: A live node.
        Self((unsafe { (*self.0).__rb_parent_color } & !3) as *mut rb_node)
    }

    fn set_left(self, child: Self) {
        // SAFETY: A live node.
        unsafe { (*self.0).rb_left = child.0 };
        child.set_parent(self);
    }

    fn set_right(self, child: Self) {
        // SAFETY: A live node.
        unsafe { (*self.0).rb_right = child.0 };
        child.set_parent(self);
    }

    /// With a colour, which nobody should take for part of the address.
    fn set_parent(self, parent: Self) {
        if !self.is_null() {
            // SAFETY: A live node.
            unsafe { (*self.0).__rb_parent_color = parent.0 as usize | 1 };
        }
    }

    fn leftmost(self) -> Self {
        let mut at = self;
        while let Some(left) = at.left().some() {
            at = left;
        }
        at
    }

    fn rightmost(self) -> Self {
        let mut at = self;
        while let Some(right) = at.right().some() {
            at = right;
        }
        at
    }

    /// The first in postorder of what is under it.
    fn deepest(self) -> Self {
        let mut at = self;
        while let Some(child) = at.left().some().or(at.right().some()) {
            at = child;
        }
        at
    }

    /// Takes the place of its parent, which becomes its child.
    fn rotate_up(self) {
        let parent = self.parent();
        let above = parent.parent();
        if parent.left() == self {
            parent.set_left(self.right());
            self.set_right(parent);
        } else {
            parent.set_right(self.left());
            self.set_left(parent);
        }
        self.set_parent(above);
        if !above.is_null() {
            match above.left() == parent {
                true => above.set_left(self),
                false => above.set_right(self),
            }
        }
    }

    /// Brings it to the top.
    fn splay(self) {
        while let Some(parent) = self.parent().some() {
            if let Some(above) = parent.parent().some() {
                match (above.left() == parent) == (parent.left() == self) {
                    true => parent.rotate_up(),
                    false => self.rotate_up(),
                }
            }
            self.rotate_up();
        }
    }
}

pub unsafe fn rb_link_node(node: *mut rb_node, parent: *mut rb_node, link: *mut *mut rb_node) {
    // SAFETY: `link` is valid, says the caller.
    assert!(unsafe { *link }.is_null(), "the place is not vacant");
    let new = rb_node {
        __rb_parent_color: parent as usize,
        rb_right: null_mut(),
        rb_left: null_mut(),
    };
    // SAFETY: `node` is valid, says the caller.
    unsafe { node.write(new) };
    // SAFETY: As above.
    unsafe { *link = node };
}

/// # Panics
///
/// If `node` is not in that tree.
fn top_is(node: *mut rb_node, root: *mut rb_root) {
    let mut at = At(node);
    while let Some(parent) = at.parent().some() {
        assert!(
            parent.left() == at || parent.right() == at,
            "not a child of its parent"
        );
        at = parent;
    }
    // SAFETY: `root` is valid, says the caller.
    assert!(at.0 == unsafe { (*root).rb_node }, "not in this tree");
}

pub unsafe fn rb_insert_color(node: *mut rb_node, root: *mut rb_root) {
    top_is(node, root);
    At(node).splay();
    // SAFETY: `root` is valid, says the caller.
    unsafe { (*root).rb_node = node };
}

pub unsafe fn rb_erase(node: *mut rb_node, root: *mut rb_root) {
    top_is(node, root);
    let node = At(node);
    node.splay();
    let (left, right) = (node.left(), node.right());
    left.set_parent(At(null_mut()));
    right.set_parent(At(null_mut()));
    let top = match left.some() {
        None => right,
        Some(left) => {
            let last = left.rightmost();
            last.splay();
            last.set_right(right);
            last
        }
    };
    // SAFETY: `root` is valid, says the caller.
    unsafe { (*root).rb_node = top.0 };
    let poison = rb_node {
        __rb_parent_color: POISON,
        rb_right: POISON as *mut rb_node,
        rb_left: POISON as *mut rb_node,
    };
    // SAFETY: The node is live.
    unsafe { node.0.write(poison) };
}

pub unsafe fn rb_first(root: *const rb_root) -> *mut rb_node {
    // SAFETY: `root` is valid, says the caller.
    let top = At(unsafe { (*root).rb_node });
    top.some().map_or(null_mut(), |top| top.leftmost().0)
}

/// The first one above `at` that is come up to from the side that `from` says.
fn above(at: At, from: fn(At) -> At) -> *mut rb_node {
    let mut at = at;
    while let Some(parent) = at.parent().some() {
        if from(parent) == at {
            return parent.0;
        }
        at = parent;
    }
    null_mut()
}

pub unsafe fn rb_next(node: *const rb_node) -> *mut rb_node {
    let node = At(node.cast_mut());
    match node.right().some() {
        Some(right) => right.leftmost().0,
        None => above(node, At::left),
    }
}

pub unsafe fn rb_prev(node: *const rb_node) -> *mut rb_node {
    let node = At(node.cast_mut());
    match node.left().some() {
        Some(left) => left.rightmost().0,
        None => above(node, At::right),
    }
}

pub unsafe fn rb_first_postorder(root: *const rb_root) -> *mut rb_node {
    // SAFETY: `root` is valid, says the caller.
    let top = At(unsafe { (*root).rb_node });
    top.some().map_or(null_mut(), |top| top.deepest().0)
}

pub unsafe fn rb_next_postorder(node: *const rb_node) -> *mut rb_node {
    let node = At(node.cast_mut());
    let Some(parent) = node.parent().some() else {
        return null_mut();
    };
    match parent.right().some() {
        Some(right) if parent.left() == node => right.deepest().0,
        _ => parent.0,
    }
}
