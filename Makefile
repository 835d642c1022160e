# SPDX-License-Identifier: GPL-2.0
# The front of everything; the work is done by the scripts under tools/.
# Kbuild reads the file Kbuild, not this one.

KERNEL ?= plain
RKSM ?= 1

# What the scripts read. RUN goes as it was typed: make must not expand its $.
export KDIR RKSM ACCEL VM_CPUS VM_MEM VM_NUMA VM_TIMEOUT VM_LOG VM_KOPT
export RKSM_RUN := $(value RUN)

.PHONY: all kernel vm demo check fmt fmt-check clippy clean help

all:
	@tools/build.sh $(KERNEL)

kernel:
	@tools/build.sh $(KERNEL) kernel

vm:
	@tools/build.sh $(KERNEL) $(if $(filter 0,$(RKSM)),kernel,module) >&2
	@tools/vm.sh $(KERNEL)

clean:
	rm -rf build
