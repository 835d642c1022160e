# SPDX-License-Identifier: GPL-2.0
# The front of everything; the work is done by the scripts under tools/.
# Kbuild reads the file Kbuild, not this one.

KERNEL ?= plain
RKSM ?= 1

# What the scripts read. RUN goes as it was typed: make must not expand its $.
export KDIR RKSM ACCEL VM_CPUS VM_MEM VM_NUMA VM_DIMM VM_ICOUNT VM_TIMEOUT VM_LOG VM_KOPT VM_DISK SEED ONLY
export KERNEL_SOURCE
export RKSM_RUN := $(value RUN)

.PHONY: all kernel vm demo check check-deb check-full mutants docs torture bench deb fmt clippy clean distclean help

all:
	@tools/build.sh $(KERNEL)

kernel:
	@tools/build.sh $(KERNEL) kernel

vm:
	@tools/build.sh $(KERNEL) $(if $(filter 0,$(RKSM)),kernel,module) >&2
	@tools/vm.sh $(KERNEL)

# Debian's own kernel has to be built by nobody.
demo: KERNEL = $(if $(SHARED),plain,debian)
demo:
	@tools/build.sh $(KERNEL)
	@tools/demo.sh $(KERNEL)

check:
	@KDIR= tools/check.sh $(KERNELS)

check-deb:
	@tools/check-deb.sh

check-full:
	@KDIR= tools/check.sh --full $(KERNELS)

mutants:
	@tools/packages.sh git patch python3
	@/usr/bin/python3 -B tools/check/mutants $(M)

docs:
	@tools/docs.sh

torture: export TORTURE_SECONDS := $(SECONDS)
torture:
	@tools/build.sh $(KERNEL)
	@tools/torture.sh $(KERNEL)

bench:
	@tools/bench.sh $(or $(PLATFORM),uml) $(or $(SIZE),normal)

deb:
	@tools/deb.sh

fmt:
	@tools/fmt.sh

clippy:
	@tools/build.sh $(KERNEL) kernel
	@tools/clippy.sh $(KERNEL)
	@tools/cargo.sh bench clippy
	@tools/cargo.sh rksmctl clippy
	@tools/cargo.sh tmpfs-dedup clippy

clean:
	rm -rf build

distclean:
	@tools/distclean.sh

define HELP
make          build/$(KERNEL)/rksm.ko, and the test kernel if that has changed
make kernel   the test kernel only
make vm       a shell in the test machine, with the module loaded
make vm RUN='command'
              runs a command there; fails if the command fails (make turns any
              failure into 2: tools/vm.sh has the exact status)
make demo     the demo: two guests and a process share their memory;
              SHARED=1: two guests whose memory is shared with another process
make check    every test; ends with a line that counts them
make check-deb
              the package's whole life on Debian 13: installed, loaded at boot,
              built for other kernels, refused, removed; ten minutes
make check-full
              make check with all that each kernel can run, on the plain one as well,
              ten minutes of torture on each, all mutants, Debian's rt-amd64, an
              emulated arm64, kernels without KSM, memory cgroups and NUMA,
              compiled in part, make check-deb, and a summary
make mutants  takes one protection away after the other: a test must find out;
              M='28 domain' for some, by row of docs/known-races.md or by name
make docs     runs the commands that the documents show, in the debian machine,
              and puts into them what is printed now
make torture  everything at random, and each byte must be right
make deb      build/rksm-dkms_*_all.deb and build/rksm-tools_*_amd64.deb, for
              Debian 13 with its own kernel
make bench    measures rksm beside in-tree KSM; table, JSON and charts
make fmt      formats the Rust source
make clippy   compiles with the kernel's clippy lints
make clean    removes what was built here, not the cache
make distclean
              removes both; then all is fetched and built again

KERNEL=plain|debug|uml|uml-debug|debian|arm64
                            which kernel (plain; debian for the demo)
KERNEL=debian-amd64|debian-rt-amd64  Debian's other ones; debian is cloud-amd64
KDIR=<prepared kernel tree> use this kernel and do not build one
KERNEL_SOURCE=<tarball or folder>
                            build the test kernels from this source, not Debian's
ACCEL=auto|kvm|tcg          auto: KVM only where a trial boot works
VM_CPUS=2 (uml: 1) VM_MEM=2G VM_NUMA=1 VM_TIMEOUT=<seconds>
VM_DIMM=<size>              plugs in a memory module that can be taken out
VM_KOPT='option ...'        for the kernel's command line
VM_LOG=<file>               where the kernel log goes (build/log/vm-*.log)
VM_DISK=<file>              debian: the disk, made if it is not there, and kept
RKSM=0                      do not load the module
KERNELS='debug uml-debug debian uml'  the kernels that `make check` tests; any other
                            can be among them
SECONDS=60 SEED=<number>    for `make torture`: how long, and the same steps again
SIZE=small|normal|full PLATFORM=uml|qemu|icount|debian ONLY=<workload> SEED=<number>
                            for `make bench`; small takes 3 minutes

In the machine: the host's files, writes stay in memory; $$RKSM_KO is the
module, $$RKSM_LOGS is build/log on the host.
Everything fetched or built outside this folder is in
$${XDG_CACHE_HOME:-~/.cache}/rksm, and is kept from one run to the next.
endef
export HELP

help:
	@echo "$$HELP"
