
# Added by rksm: only metadata, with no code behind it, and the macros compiled
# as fast as can be.  With --emit=metadata alone rustc would neither keep the
# bodies of generic and inline functions nor know what the kernel exports.
cmd_rustc_library = \
	$(rustc_target_envs) OBJTREE=$(abspath $(objtree)) \
	$(RUSTC) $(filter-out $(skip_flags),$(rust_flags)) $(rustc_target_flags) \
		--emit=dep-info=$(depfile) --emit=obj --out-dir $(dir $@) -Zno-codegen \
		--emit=metadata=$(dir $@)$(patsubst %.o,lib%.rmeta,$(notdir $@)) \
		--crate-type rlib -L$(objtree)/$(obj) \
		--crate-name $(patsubst %.o,%,$(notdir $@)) $< \
		--sysroot=/dev/null -Zunstable-options --cap-lints=allow && touch $@

rule_rustc_library = $(call cmd_and_fixdep,rustc_library)

cmd_rustc_procmacrolibrary = \
	$(rustc_target_envs) \
	$(RUSTC) $(filter-out $(skip_flags),$(rust_common_flags) $(rustc_target_flags)) \
		--emit=dep-info=$(depfile) --emit=link=$@ --crate-type rlib \
		--out-dir $(objtree)/$(obj)/host -L$(objtree)/$(obj)/host \
		--crate-name $(patsubst lib%.rlib,%,$(notdir $@)) $<
