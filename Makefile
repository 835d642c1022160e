# SPDX-License-Identifier: GPL-2.0
# The front of everything; the work is done by the scripts under tools/.
# Kbuild reads the file Kbuild, not this one.

KERNEL ?= plain
OUT := build/$(KERNEL)

# The command for `make vm`, as it was typed: make must not expand its $.
export RKSM_RUN := $(value RUN)

.PHONY: all vm clean

all:
	@tools/module.sh $(KDIR) $(OUT)

vm:
	@tools/vm.sh $(KERNEL) $(KDIR)/arch/x86/boot/bzImage $(OUT)/rksm.ko

clean:
	rm -rf build
