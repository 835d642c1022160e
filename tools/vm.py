#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boot a test kernel and run a command there.

The machine is QEMU through virtme-ng, or User-Mode Linux, or with --disk QEMU
with a system of its own, or an emulated one of arm64 with a root in memory.

RKSM_RUN has the command; without one there is a shell. The command's stdout,
stderr and exit status become this program's own. The kernel log goes to a
file. The guest sees the host's root file system, or of it this repository and
the cache if it has a system of its own. Its writes are kept in the guest's
memory; what it writes to $RKSM_LOGS, which is build/log, reaches the host.

Exit status: the command's; 125 if the module did not load; 124 if the time
ran out; 141 if nobody reads what it says any more; 255 if the machine died before the command ended.
"""

import argparse
import base64
import contextlib
import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LOGS = REPO / "build/log"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rksm"

STATUS_TIMEOUT = 124
STATUS_DIED = 255
PR_SET_PDEATHSIG = 1
# In which a machine that was asked to stop has to.
STOP_SECONDS = 10
KVM = Path("/dev/kvm")
# For which it is remembered that KVM does not work.
DAY = 24 * 3600

# QEMU, and nothing that it was not told.
BARE = ("-name", "rksm", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
# A console that is ours.
TERMINAL = ["-chardev", "stdio,id=terminal,signal=off", "-device", "virtio-serial-pci"]
TERMINAL += ["-device", "virtconsole,chardev=terminal"]

# The guest mounts fresh file systems over these.
HIDDEN = ("/run", "/var/tmp", "/var/cache", "/var/log")
# Kernel and device file systems; everything else in / gets an overlay.
NO_OVERLAY = {"dev", "proc", "sys", "run", "lost+found"}


class VmError(Exception):
    """The machine cannot be started; the message says why."""


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


def overlays():
    for path in sorted(Path("/").iterdir()):
        usable = path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK | os.X_OK)
        if usable and path.name not in NO_OVERLAY:
            yield str(path)


def numa_nodes(nodes, cpus, mem_mib):
    """Equal shares of memory and CPUs: for each node its MiB, and which CPUs."""
    if nodes < 1 or cpus % nodes:
        raise VmError(f"VM_CPUS={cpus} cannot be shared equally by VM_NUMA={nodes} nodes")
    shares = []
    for node in range(nodes):
        size = mem_mib * (node + 1) // nodes - mem_mib * node // nodes
        first, last = node * cpus // nodes, (node + 1) * cpus // nodes - 1
        shares.append((size, f"{first}-{last}"))
    return shares


def mebibytes(text):
    """'2G', '512M' or a bare number of MiB."""
    units = {"G": 1024, "M": 1}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "M")
    if unit not in units or not number.isdigit() or not int(number):
        raise VmError(f"{text} is not a size of memory such as 2G or 1536M")
    return int(number) * units[unit]


class Machine:
    """One boot: its files and its result. How it boots is up to the kind."""

    # Further descriptors that it is started with.
    fds = ()

    def __init__(self, args, accel):
        self.args = args
        self.accel = accel
        (CACHE / "run").mkdir(parents=True, exist_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        self.run_dir = Path(tempfile.mkdtemp(prefix="vm-", dir=CACHE / "run"))
        # Held while it runs: what one that was killed has left can be told from it.
        self.in_use = os.open(self.run_dir, os.O_RDONLY)
        fcntl.flock(self.in_use, fcntl.LOCK_SH)
        remove_leftovers()
        self.log = Path(args.log)

    def prepare(self, command):
        env = {
            "RKSM": "1" if self.args.module else "0",
            "RKSM_KO": str(self.args.module or ""),
            "RKSM_REPO": str(REPO),
            "RKSM_LOGS": str(LOGS),
            "RKSM_KERNEL": self.args.name,
            "RKSM_ACCEL": self.accel,
            "HOME": os.environ.get("HOME", "/root"),
            "TERM": os.environ.get("TERM", "dumb"),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        if sys.stdout.isatty():
            size = shutil.get_terminal_size()
            env |= {"RKSM_TTY": "1", "COLUMNS": str(size.columns), "LINES": str(size.lines)}
        for item in self.args.env:
            name, _, value = item.partition("=")
            env[name] = value
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in env.items()]
        (self.run_dir / "env").write_text("".join(lines))
        (self.run_dir / "cmd").write_text(command or "")
        (self.run_dir / "ret").write_text("")
        shell = self.run_dir / "shell"
        shutil.copy(REPO / "tools/guest-shell.sh", shell)
        shell.chmod(0o755)

    def run(self, command, out=None):
        """Run a command; its stdout is copied to `out`, or to our own."""
        self.prepare(command)
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        with subprocess.Popen(
            self.command_line(out_w, err_w),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(out_w, err_w, *self.fds),
            start_new_session=True,
        ) as child:
            os.close(out_w)
            os.close(err_w)
            timed_out = self.pump(child, {out_r: out or sys.stdout.buffer, err_r: sys.stderr.buffer})
        if timed_out:
            return STATUS_TIMEOUT
        if error := getattr(child, "unheard", None):
            if isinstance(error, BrokenPipeError):
                return 128 + signal.SIGPIPE
            say(f"what the machine says cannot be written: {error.strerror}")
        text = (self.run_dir / "ret").read_text().strip()
        return int(text) if text.isdigit() else STATUS_DIED

    def pump(self, child, streams):
        """Copy the streams and the serial line until the machine has stopped."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        threads = []
        with self.log.open("wb", buffering=0) as log:
            streams = {**streams, child.stderr.fileno(): log}
            for source, sink in streams.items():
                threads.append(threading.Thread(target=copy, args=(source, sink, child), daemon=True))
                threads[-1].start()
            timed_out = False
            try:
                child.wait(self.args.timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                # What it started is one process group of ours.
                stop_group(child)
                for thread in threads:
                    thread.join(timeout=5)
        return timed_out

    def shell(self):
        """An interactive shell; the kernel log goes to its file."""
        self.prepare(None)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.log.open("wb") as log,
            subprocess.Popen(self.shell_line(), stderr=log, pass_fds=self.fds) as child,
        ):
            try:
                return child.wait()
            except SystemExit:
                # QEMU may be a child of virtme-run, and is in the terminal's group like all of us.
                children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text()
                for pid in [*map(int, children.split()), child.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                raise

    def cleanup(self):
        shutil.rmtree(self.run_dir, ignore_errors=True)
        os.close(self.in_use)


class Qemu(Machine):
    """What QEMU and its kernel are told, wherever the root file system is."""

    BACKEND = "memory-backend-ram"

    def kernel_options(self):
        options = ["ignore_loglevel", *self.args.kopt]
        if self.accel == "tcg":
            # An emulated CPU that the host does not run for half a minute is no
            # locked-up kernel. What has locked up is found after two.
            options += ["watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=120"]
        return options

    def ports(self, out_fd, err_fd):
        return {
            "out": f"/proc/self/fd/{out_fd}",
            "err": f"/proc/self/fd/{err_fd}",
            "ret": str(self.run_dir / "ret"),
        }

    def smp(self):
        """CPUs and their memory."""
        args = self.args
        mem_mib = mebibytes(args.mem)
        # A socket for each node: the CPUs of one socket are never on two.
        line = ["-m", f"{mem_mib}M", "-smp", f"{args.cpus},sockets={args.numa}"]
        for node, (size, cpus) in enumerate(numa_nodes(args.numa, args.cpus, mem_mib)):
            line += ["-object", f"{self.BACKEND},id=ram{node},size={size}M"]
            line += ["-numa", f"node,memdev=ram{node},cpus={cpus}"]
        return line

    def qemu_options(self, ports):
        args = self.args
        options = ["-machine", f"accel={self.accel}"]
        if args.icount:
            if self.accel != "tcg":
                raise VmError("only an emulated CPU counts its instructions")
            # Two nanoseconds each.
            options += ["-icount", "shift=1,sleep=off"]
        if args.dimm:
            dimm, limit = mebibytes(args.dimm), mebibytes(args.mem) + mebibytes(args.dimm)
            options += ["-m", f"slots=1,maxmem={limit}M"]
            options += ["-object", f"{self.BACKEND},id=dimm,size={dimm}M"]
            options += ["-device", "pc-dimm,memdev=dimm,node=0"]
        for name, path in ports.items():
            options += ["-chardev", f"file,id=rksm.{name},path={path}"]
            options += ["-device", "virtio-serial-pci"]
            options += ["-device", f"virtserialport,name=rksm.{name},chardev=rksm.{name}"]
        return options


class X86(Qemu):
    """What only x86 has to be told."""

    def kernel_options(self):
        options = super().kernel_options()
        if self.accel == "tcg":
            # On a busy host the emulated timer may miss the check at boot.
            options.append("no_timer_check")
            # An interrupt in the instant at boot in which the kernel has not yet
            # found out again that it has five levels is an error to KASAN.
            options.append("no5lvl")
            if self.args.guests:
                # When QEMU 10.0 lets a guest run it notes that without its lock, and loses an interrupt
                # that another thread notes at once. A timer that fires but once would be lost for good.
                options += ["nohz=off", "highres=off"]
        return options


class Virtme(X86):
    """A machine of virtme-ng: 9p root, overlays over it."""

    def kernel_options(self):
        # In Debian 12's QEMU: under nested paging the emulated CPU now and then finds
        # no page where there is one, and a guest in the machine dies of it.
        return super().kernel_options() + (["kvm_amd.npt=0"] if self.accel == "tcg" else [])

    def virtme(self):
        args = self.args
        mem_mib = mebibytes(args.mem)
        line = [args.virtme, "--kimg", args.kernel, "--mods", "none"]
        line += ["--force-9p", "--disable-microvm", "--name", "rksm"]
        # A socket for each node: the CPUs of one socket are never on two.
        line += ["--cpus", f"{args.cpus},sockets={args.numa}", "--memory", f"{mem_mib}M"]
        nodes = numa_nodes(args.numa, args.cpus, mem_mib)
        for size, cpus in nodes if len(nodes) > 1 else []:
            line += ["--numa", f"{size}M,cpus={cpus}"]
        for path in overlays():
            line += ["--overlay-rwdir", path]
        line += ["--rwdir", str(LOGS)]
        if self.accel == "tcg":
            line.append("--disable-kvm")
        for option in self.kernel_options():
            line += ["-a", option]
        return line

    def command_line(self, out_fd, err_fd):
        guest = ["bash", str(REPO / "tools/guest.sh"), str(self.run_dir)]
        line = self.virtme() + ["--show-boot-console", "--script-sh", shlex.join(guest)]
        return line + ["--qemu-opts", *self.qemu_options(self.ports(out_fd, err_fd))]

    def shell_line(self):
        line = self.virtme() + ["--shell", str(self.run_dir / "shell")]
        return line + ["--qemu-opts", *self.qemu_options({})]


class Debian(X86):
    """A system of its own on a disk, booted as it is. virtiofs shows it the
    host's files, and a unit that systemd gets from outside runs the command."""

    # What else runs beside the guest must see the same memory.
    BACKEND = "memory-backend-memfd,share=on"
    HOST = "/run/vm/host"
    UNIT = """\
[Unit]
Description=The command of the test machine
DefaultDependencies=no
After=multi-user.target
SuccessAction={end}
FailureAction={end}
[Service]
Type=exec
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
{terminal}
ExecStartPre=/bin/mkdir -p {host}
ExecStartPre=/bin/mount -t virtiofs host {host}
ExecStart=/bin/bash {script} {run} {places}
"""
    TERMINAL = "StandardInput=tty-force\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/hvc0"

    def prepare(self, command):
        super().prepare(command)
        # The daemon ends when the last one who could talk to it is gone.
        with socket.socket(socket.AF_UNIX) as listener, (self.run_dir / "virtiofsd").open("wb") as log:
            listener.bind("")
            listener.listen(1)
            self.daemon = subprocess.Popen(
                virtiofsd(listener.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
            self.files = socket.socket(socket.AF_UNIX)
            self.files.connect(listener.getsockname())
            self.fds = (self.files.fileno(),)
        unit = self.UNIT.format(
            # What is written to a disk that is thrown away need not get there;
            # one that is kept has had an orderly end of the whole system.
            end="poweroff" if self.args.keep_disk else "poweroff-immediate",
            terminal="" if command else self.TERMINAL,
            host=self.HOST,
            script=for_unit(f"{self.HOST}{REPO}/tools/debian-guest.sh"),
            run=for_unit(self.run_dir),
            places=" ".join(map(for_unit, (REPO, CACHE))),
        )
        credential = "io.systemd.credential.binary:systemd.extra-unit.vm-command.service="
        text = credential + base64.b64encode(unit.encode()).decode()
        (self.run_dir / "smbios").write_text(text)

    def cleanup(self):
        if self.fds:
            self.files.close()
            try:
                self.daemon.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
        super().cleanup()

    def run(self, command, out=None):
        status = super().run(command, out)
        if status == STATUS_DIED:
            with self.log.open("ab") as log:
                log.write((self.run_dir / "virtiofsd").read_bytes())
        return status

    def program(self):
        """Debian 13's QEMU, with the libraries that came with it. An emulated CPU of
        Debian 12's (before 8.1) now and then runs an int3 that the kernel has put
        there to change its code, after it is gone: what a livepatch does often. With
        several CPUs, guests in the machine die in 13's now and then."""
        usr = Path(self.args.tree) / "usr"
        libraries = usr / "lib/x86_64-linux-gnu"
        line = ["env", f"QEMU_MODULE_DIR={libraries}/qemu", str(usr / "lib64/ld-linux-x86-64.so.2")]
        line += ["--library-path", str(libraries), str(usr / "bin/qemu-system-x86_64")]
        for place in ("share/qemu", "share/seabios", "lib/ipxe/qemu"):
            line += ["-L", str(usr / place)]
        return line

    def qemu(self, options):
        args = self.args
        line = [*self.program(), *BARE, "-machine", "q35"]
        line += ["-cpu", "host" if self.accel == "kvm" else "max", *self.smp()]
        line += ["-chardev", "file,id=console,path=/proc/self/fd/2", "-serial", "chardev:console"]
        snapshot = "off" if args.keep_disk else "on"
        line += ["-drive", f"file={args.disk},format=raw,if=virtio,snapshot={snapshot}"]
        line += ["-chardev", f"socket,id=host,fd={self.files.fileno()}"]
        line += ["-device", "vhost-user-fs-pci,chardev=host,tag=host"]
        line += ["-smbios", f"type=11,path={self.run_dir}/smbios"]
        kernel = ["root=/dev/vda", "rw", "console=ttyS0", "panic=-1", "SYSTEMD_COLORS=0"]
        # The console is a log.
        kernel += ["systemd.getty_auto=no", "systemd.wants=vm-command.service"]
        kernel += self.kernel_options()
        if args.uefi:
            return line + self.uefi(kernel) + options
        line += ["-kernel", args.kernel, "-initrd", args.initrd]
        line += ["-append", " ".join(kernel)]
        return line + options

    def uefi(self, kernel):
        """Firmware, of whose variables it alone, in SMM, is the master, and a disk
        for it to boot from, with what debian_uefi() of tools/check-deb has put there."""
        folder, disk = self.args.uefi, self.run_dir / "esp"
        shutil.copytree(folder / "esp", disk)
        shutil.copy(self.args.kernel, disk / "vmlinuz")
        shutil.copy(self.args.initrd, disk / "initrd.img")
        words = " ".join(f"'{word}'" for word in kernel)
        (disk / "EFI/debian").mkdir()
        (disk / "EFI/debian/grub.cfg").write_text(f"linux /vmlinuz {words}\ninitrd /initrd.img\nboot\n")
        line = ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
        line += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={folder}/code.fd"]
        line += ["-drive", f"if=pflash,unit=1,format=raw,file={folder}/vars.fd"]
        return [*line, "-drive", f"if=virtio,format=raw,readonly=on,file=fat:{disk}"]

    def command_line(self, out_fd, err_fd):
        return self.qemu(self.qemu_options(self.ports(out_fd, err_fd)))

    def shell_line(self):
        return self.qemu(self.qemu_options({}) + TERMINAL)


class Arm64(Qemu):
    """An emulated machine of another kind than the host. Its root is in memory,
    and 9p shows it the host's files."""

    def qemu(self, options):
        args = self.args
        # Memory has tags. To sign pointers as the architecture says takes the
        # emulation most of its time.
        line = ["qemu-system-aarch64", *BARE, "-machine", "virt,gic-version=3,mte=on"]
        line += ["-cpu", "max,pauth-impdef=on", *self.smp()]
        line += ["-chardev", "file,id=console,path=/proc/self/fd/2", "-serial", "chardev:console"]
        line += ["-fsdev", "local,id=host,path=/,security_model=none,multidevs=remap"]
        line += ["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
        # On a busy host a page under migration was waited for for two minutes,
        # and came.
        kernel = ["console=ttyAMA0", "panic=-1", "sysctl.kernel.hung_task_timeout_secs=300"]
        kernel += self.kernel_options()
        kernel += ["--", str(int(time.time()))]
        kernel += [f'"{path}"' for path in (self.run_dir, REPO, CACHE)]
        line += ["-kernel", args.kernel, "-initrd", args.initrd, "-append", " ".join(kernel)]
        return line + options

    def command_line(self, out_fd, err_fd):
        return self.qemu(self.qemu_options(self.ports(out_fd, err_fd)))

    def shell_line(self):
        return self.qemu(self.qemu_options({}) + TERMINAL)


class Uml(Machine):
    """User-Mode Linux: the kernel is a process, its root the host's by hostfs."""

    def uml(self):
        args = self.args
        if args.numa > 1:
            raise VmError("User-Mode Linux has no NUMA")
        if args.dimm or args.icount:
            raise VmError("User-Mode Linux has no memory modules, and counts no instructions")
        place = os.environ.get("TMPDIR") or "/dev/shm"
        free, needed = shutil.disk_usage(place).free >> 20, mebibytes(args.mem)
        if free < needed:
            raise VmError(f"User-Mode Linux has its memory in {place}: {needed} MiB are needed, {free} are free")
        line = [args.kernel, f"mem={mebibytes(args.mem)}M", "root=/dev/root", "rootfstype=hostfs"]
        line += ["ro", "rootflags=/", f"uml_dir={self.run_dir}/", "umid=rksm", "panic=-1"]
        # More than one CPU needs the seccomp way of running user space.
        line += ["seccomp=on", f"ncpus={args.cpus}", "con=null", "ssl=null"]
        # The kernel log goes to a console that is our stderr.
        line += ["con3=null,fd:2", "console=tty3", "ignore_loglevel", *args.kopt]
        return line

    def init(self):
        return [f"init={REPO}/tools/uml-init.sh", "--", str(self.run_dir)]

    def command_line(self, out_fd, err_fd):
        return self.uml() + [f"con1=null,fd:{out_fd}", f"con2=null,fd:{err_fd}"] + self.init()

    def shell_line(self):
        return self.uml() + ["con0=fd:0,fd:1"] + self.init()


def remove_leftovers():
    """The folders of machines whose runner was killed."""
    for folder in (CACHE / "run").glob("vm-*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                # One that was made in this instant is not held yet.
                if time.time() - folder.stat().st_mtime > DAY:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def virtiofsd(fd):
    """The command of the daemon that serves the host's files to who connects."""
    line = [] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user"]
    # Debian 13 has the one of Rust; that of Debian 12 comes with QEMU.
    if (path := Path("/usr/libexec/virtiofsd")).exists():
        return [*line, path, f"--fd={fd}", "--shared-dir=/", "--sandbox=chroot"]
    if (path := Path("/usr/lib/qemu/virtiofsd")).exists():
        return [*line, path, f"--fd={fd}", "-o", "source=/", "-o", "sandbox=chroot"]
    raise VmError("there is no virtiofsd on this machine")


def for_unit(text):
    """A word of a command in a unit of systemd."""
    for special, instead in ("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"):
        text = str(text).replace(special, instead)
    return f'"{text}"'


def copy(source, sink, child):
    """Until the machine has stopped. What cannot be written any more, as behind
    `| head`, there is nothing left to run for."""
    try:
        while data := os.read(source, 65536):
            sink.write(data)
            sink.flush()
    except OSError as error:
        child.unheard = error
        # What Python has kept of it is not to be tried again at its end.
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), sink.fileno())
        stop_group(child)


def stop_group(child):
    """Asks the machine to stop, and sees to it."""
    for number in signal.SIGTERM, signal.SIGKILL:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
            return


KINDS = {"uml": Uml, "arm64": Arm64}


def kind(args):
    if (family := args.name.partition("-")[0]) in KINDS:
        return KINDS[family]
    return Debian if args.disk else Virtme


def probe_kvm(args):
    """Does an ordinary kernel run under KVM here? Only a boot can tell: the
    device may exist and still not run one. That it works holds until the host
    boots again; that it does not, and why, for a day at most."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memo = CACHE / "accel" / boot
    log = CACHE / "accel/probe.log"
    known = memo.read_text().strip() if memo.exists() else ""
    # What an earlier version wrote has no reason.
    known = known if known != "tcg" else ""
    if known == "kvm":
        return known
    why = kvm_is_out_of_reach()
    if not why and known and time.time() - memo.stat().st_mtime < DAY:
        why = f"{known}; remove {memo} to have it tried again"
    elif not why:
        say("trying whether KVM runs the test kernel here")
        why = try_kvm(args, log)
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text((why or "kvm") + "\n")
    say(f"no KVM, but software emulation (tcg), ten times as slow: {why}" if why else "using kvm")
    return "tcg" if why else "kvm"


def kvm_is_out_of_reach():
    if not KVM.exists():
        return f"there is no {KVM}"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"you may not open {KVM}, which is for its group {KVM.group()}: `adduser USER {KVM.group()}`"
    return None


def try_kvm(args, log):
    """Why it does not work."""
    trial = argparse.Namespace(**vars(args))
    trial.module, trial.timeout, trial.numa = None, 30, 1
    trial.keep_disk, trial.uefi = False, None
    trial.log = str(log)
    machine = kind(args)(trial, "kvm")
    try:
        with open(os.devnull, "wb") as null:
            status = machine.run("true", out=null)
    finally:
        machine.cleanup()
    if status == STATUS_TIMEOUT:
        return f"the kernel did not come up in {trial.timeout} s ({log})"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no log")
    return f"the trial boot ended with status {status} ({log}): {said}" if status else None


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--virtme", help="the virtme-run program")
    parser.add_argument("--kernel", required=True, help="bzImage to boot")
    parser.add_argument("--initrd", help="initrd of a system of its own, or the root in memory")
    parser.add_argument("--tree", help="folder with such a system, whose QEMU is to be used")
    parser.add_argument("--disk", help="disk of a system of its own")
    parser.add_argument("--keep-disk", action="store_true", help="what is written to the disk stays there")
    parser.add_argument("--uefi", type=Path, help="folder with firmware, its variables, and a boot loader")
    parser.add_argument("--name", default="plain", help="what the kernel is called")
    parser.add_argument("--module", type=Path, help="module to load first")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--mem", default="2G")
    parser.add_argument("--numa", type=int, default=1)
    parser.add_argument("--icount", action="store_true", help="the clock counts instructions")
    parser.add_argument("--guests", action="store_true", help="guests of its own run in it")
    parser.add_argument("--dimm", help="size of a memory module that can be taken out")
    parser.add_argument("--accel", choices=("auto", "kvm", "tcg"), default="auto")
    parser.add_argument("--timeout", type=float, help="seconds")
    parser.add_argument("--kopt", action="append", default=[], help="kernel option")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for the command")
    parser.add_argument("--log", help="where the kernel log goes")
    args = parser.parse_args()
    args.log = args.log or str(LOGS / f"vm-{args.name}-{os.getpid()}.log")
    return args


def check_paths(args):
    for path in () if args.disk or args.initrd else (REPO, CACHE, Path(args.virtme), Path(args.kernel)):
        if any(path.absolute().is_relative_to(hidden) for hidden in HIDDEN):
            raise VmError(f"{path} cannot be seen in the test machine, which has its own {', '.join(HIDDEN)}")
    if args.module:
        args.module = args.module.resolve()
        if not args.module.exists():
            raise VmError(f"{args.module} does not exist; `make` builds it, RKSM=0 boots without it")


def end(number, _):
    """Ended from outside, it takes the machine with it, once: a signal often comes twice."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    signal.signal(signal.SIGTERM, end)
    # Who started it may be ended, and not tell.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    args = parse()
    machine = None
    try:
        check_paths(args)
        if kind(args) is Uml:
            args.accel = "uml"
        elif args.name == "arm64":
            args.accel = "tcg"
        elif args.accel == "auto":
            args.accel = probe_kvm(args)
        machine = kind(args)(args, args.accel)
        command = os.environ.get("RKSM_RUN")
        if not command:
            return machine.shell()
        started = time.monotonic()
        status = machine.run(command)
        if status == STATUS_TIMEOUT:
            say(f"the machine was stopped after {time.monotonic() - started:.0f} s")
        elif status == STATUS_DIED:
            say("the machine died before the command ended")
        if status in (STATUS_TIMEOUT, STATUS_DIED):
            say(f"kernel log: {args.log}")
        return status
    except VmError as error:
        say(error)
        return 125
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if machine:
            machine.cleanup()


if __name__ == "__main__":
    sys.exit(main())
