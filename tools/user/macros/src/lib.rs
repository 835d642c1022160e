// SPDX-License-Identifier: GPL-2.0

//! The kernel's attribute for test modules.

use proc_macro::TokenStream;

/// Makes a KUnit suite a module of ordinary tests.
#[proc_macro_attribute]
pub fn kunit_tests(_suite: TokenStream, module: TokenStream) -> TokenStream {
    "#[cfg(test)]"
        .parse::<TokenStream>()
        .into_iter()
        .flatten()
        .chain(module)
        .collect()
}
