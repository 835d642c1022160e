# SPDX-License-Identifier: GPL-2.0
"""A copy of the tree in which mutants are made, built and run."""

import filecmp
import hashlib
import os
import re
import shutil
import subprocess

import mutant as mutants

BUILD = "tools/check/mutants/build.sh"
# What decides whether a test passes, beside the module's own files: in user space, and in a machine.
SOURCES_USER = ("tools/user/",)
SOURCES = ("selftests/", "kernel/", "dkms/", "Kbuild")
# The last patch of the kernel, in the copy.
LAST_PATCH = "kernel/shared/9999-mutant.patch"


class Copy:
    """The files of the tree beneath build/mutants, for one kernel. What a mutant does not touch keeps its date,
    so that little is compiled again."""

    def __init__(self, repo, kernel):
        self.repo, self.kernel = repo, kernel
        self.top = repo / "build/mutants" / kernel
        self.changes_kernel = kernel == mutants.CHANGED
        # Of an earlier run: that kernel may be somewhere else today.
        self.kdir().unlink(missing_ok=True)

    def kdir(self):
        return self.top / "build" / self.kernel / "kdir"

    def names(self):
        listing = ["git", "-C", self.repo, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
        return sorted(name for name in names if name and (self.repo / name).is_file())

    def state(self):
        """A name for all that the tests of this tree depend on."""
        whole = hashlib.sha256()
        sources = SOURCES_USER if self.kernel == "user" else SOURCES
        for name in self.names():
            of_module = name.endswith(".rs") and not name.startswith("tools/")
            if of_module or name.startswith(sources):
                whole.update(name.encode() + b"\0" + (self.repo / name).read_bytes())
        return whole.hexdigest()

    def lay_out(self, mutant=None):
        """Makes it what the tree is, but for the mutant's patch."""
        names = self.names()
        for name in names:
            ours, its = self.repo / name, self.top / name
            if not its.exists() or not filecmp.cmp(ours, its, shallow=False):
                its.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ours, its)
        for path in self.top.rglob("*"):
            name = str(path.relative_to(self.top))
            if path.is_file() and name not in names and not name.startswith("build/"):
                path.unlink()
        if mutant and self.changes_kernel:
            shutil.copy(mutant.path, self.top / LAST_PATCH)
        elif mutant:
            subprocess.run(["patch", "-s", "-p1", "-d", self.top, "-i", mutant.path], check=True)

    def build(self, runs, log):
        """The module, and the programs that `runs` name. Whether that went well. Where no mutant changes the
        kernel, it is built for the first one: nobody has to wait for others who build theirs."""
        words = {word for run in runs for word in re.findall(r"[a-z_]+", run)}
        programs = sorted(word for word in words if (self.repo / "selftests" / f"{word}.c").exists())
        known = self.kdir().exists() and not self.changes_kernel
        settings = {"KDIR": self.kdir().read_text().strip()} if known else {}
        return self.status([self.top / BUILD, self.kernel, *programs], log, settings) == 0

    def boot(self, command, log, seconds):
        """Runs `command` in a machine, with the test programs in its PATH. Its status."""
        settings = {"VM_LOG": str(log.with_suffix(".kernel")), "VM_TIMEOUT": str(seconds)}
        settings["RKSM"] = "0" if self.changes_kernel else "1"
        if self.kernel.startswith("uml"):
            settings |= {"VM_CPUS": "1", "VM_MEM": "3G"}
        else:
            settings |= {"VM_CPUS": "2", "VM_NUMA": "2", "VM_DIMM": "128M"}
        settings["RKSM_RUN"] = f"PATH={self.top}/build/{self.kernel}/tests:$PATH; {command}"
        return self.status([self.top / "tools/vm.sh", self.kernel], log, settings)

    def user_test(self, arguments, log):
        return self.status([self.top / "tools/user-test.sh", *arguments.split()], log, {"SEED": "1"})

    @staticmethod
    def status(command, log, settings):
        with log.open("ab") as out:
            return subprocess.run(
                command, stdout=out, stderr=subprocess.STDOUT, env=dict(os.environ, **settings), check=False
            ).returncode
