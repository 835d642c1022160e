
# Added by rksm: the kernel's Rust crates, and nothing that they do not need.
ifneq ($(need-sub-make),1)
PHONY += rksm-metadata
rksm-metadata:
	$(Q)$(MAKE) $(build)=rust rust/kernel.o
endif

# The kernel's bindings are to have what is the provider's.
KBUILD_CPPFLAGS += -DCONFIG_KSM_PROVIDER
