"""The program that runs other programs: `python -I -S jail.py`, request on stdin, result on stdout.

It imports nothing but the standard library, so that nothing of this project lies in the memory of
what it runs. Three processes: this one keeps the clock and the output; an `init`, process 1 of a
process namespace where there is one, whose end ends all others; and the program.

What can be enforced depends on the machine (kernel, container, user). Every measure is tried and
reported in `enforced`; `openseek doctor` shows it.
"""

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import struct
import sys
import time
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 1 << 17, 1 << 27, 1 << 28, 1 << 29, 1 << 30
_PR_SECCOMP, _PR_DEATH, _PR_SECUREBITS, _PR_SUBREAPER, _PR_NO_NEW_PRIVS = 22, 1, 28, 36, 38
_NO_ROOT = 3  # user 0 gains no capability by starting a program, for good
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 1 << 12, 1 << 14, 1 << 18
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1, 4, 8
_MACHINES = {  # audit number; clone; what else starts processes, with the error it gets
    "x86_64": (0xC000003E, 56, ((57, 1), (58, 1), (435, 38))),
    "aarch64": (0xC00000B7, 220, ((435, 38),)),
}
_FIRST_UID, _UIDS = 200_000, 10_000
_OPEN, _TICK_S = "open", 0.02
_READABLE = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/null",
             "/dev/zero", "/dev/urandom", "/dev/random")  # fmt: skip


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _unshare(flags: int) -> bool:
    return _LIBC.unshare(flags) == 0


def isolate(root: bool) -> dict[str, str]:
    """Leave the network, the processes and the mounts of the machine, as far as it allows.

    Returns:
        What is enforced: `network`, `processes`, `disk`.
    """
    uid, gid = os.getuid(), os.getgid()
    user = 0 if root else _NEW_USER
    enforced = {"network": _OPEN, "processes": "process group", "disk": "each file"}
    if _unshare(user | _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_NS):
        enforced |= {"network": "namespace", "processes": "namespace", "disk": "all files"}
    elif _unshare(user | _NEW_NET):
        enforced["network"] = "namespace"
    if user and enforced["network"] != _OPEN:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"),
                           ("gid_map", f"{gid} {gid} 1")):  # fmt: skip
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
    return enforced


def blocked(path: str) -> str:
    """Return the first folder on the way to a path that other users may not pass; or nothing."""
    parts = path.strip("/").split("/")
    ways = ["/" + "/".join(parts[: i + 1]) for i in range(len(parts))]
    return next((way for way in ways if not os.stat(way).st_mode & 1), "")


def mount_room(folder: str, size: int, uid: int, gid: int) -> None:
    """Put a memory file system of limited size over a folder; only this program sees it."""
    _checked(_LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    options = f"size={size},mode=700,uid={uid},gid={gid}".encode()
    flags = _MS_NOSUID | _MS_NODEV
    _checked(_LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options))


def open_way(needed: list[str]) -> None:
    """Let other users reach an interpreter in a folder that is not theirs, such as /root.

    An empty file system covers that folder, with the interpreter in it and nothing else.
    """
    held = {path: os.open(path, os.O_PATH) for path in needed if blocked(path)}
    for way in {blocked(path) for path in held}:
        _checked(_LIBC.mount(b"tmpfs", way.encode(), b"tmpfs", 0, b"size=1m,mode=755"))
    for path, fd in held.items():
        os.makedirs(path, exist_ok=True)
        place = f"/proc/self/fd/{fd}".encode()
        _checked(_LIBC.mount(place, path.encode(), None, _MS_BIND | _MS_REC, None))
        os.close(fd)


def landlock() -> int:
    """Return the version of Landlock that the kernel has; below 1: none."""
    return int(_LIBC.syscall(_CREATE_RULESET, None, 0, 1))


def lock_files(folder: str, needed: list[str]) -> str:
    """Allow no file outside of a folder but the interpreter's, read only (Landlock, Linux 5.13).

    Returns:
        `landlock`, or `open` where the kernel has none.
    """
    version = landlock()
    if version < 1:
        return _OPEN
    every = (1 << (13 + (version >= 2) + (version >= 3))) - 1
    if version >= 5:
        every |= 1 << 15  # ioctl on devices
    nets = 3 if version >= 4 else 0  # bind and connect by TCP
    scopes = 3 if version >= 6 else 0  # abstract sockets and signals to the outside
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("QQQ", every, nets, scopes)[:size]
    rules = _checked(_LIBC.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    for path in (*_READABLE, *needed, folder):
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = every if path == folder else reading
            if not os.path.isdir(path):
                allowed &= _EXECUTE | _READ_FILE | 2
            if path == "/dev/null":
                allowed |= 2
            rule = struct.pack("=Qi", allowed, fd)
            _checked(_LIBC.syscall(_ADD_RULE, rules, 1, rule, 0))
            os.close(fd)
    _checked(_LIBC.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)
    return "landlock"


def forbid_forks() -> str:
    """Refuse to start processes, threads excepted (seccomp): nothing counts those of user 0.

    Returns:
        `seccomp`, or `open` on a machine whose numbers are not known here.
    """
    if os.uname().machine not in _MACHINES:
        return _OPEN
    audit, clone, others = _MACHINES[os.uname().machine]
    load, equals, has, give = 0x20, 0x15, 0x45, 0x06
    yes, no, thread = 0x7FFF0000, 0x50000, 0x10000
    rules = [(load, 0, 0, 4), (equals, 1, 0, audit), (give, 0, 0, no | 1), (load, 0, 0, 0)]
    for number, error in others:  # clone3 seems not to exist, and libraries use clone instead
        rules += [(equals, 0, 1, number), (give, 0, 0, no | error)]
    rules += [(equals, 0, 4, clone), (load, 0, 0, 16), (has, 0, 1, thread)]
    rules += [(give, 0, 0, yes), (give, 0, 0, no | 1), (give, 0, 0, yes)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *r) for r in rules))
    program = struct.pack("H6xP", len(rules), ctypes.addressof(code))
    _checked(_LIBC.prctl(_PR_SECCOMP, 2, program, 0, 0))
    return "seccomp"


def limit(wanted: dict[str, int]) -> None:
    """Set the limits that the kernel keeps."""
    cpu_s, memory, file_bytes = wanted["cpu_s"], wanted["memory_bytes"], wanted["file_bytes"]
    for what, soft, hard in (
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NPROC, wanted["processes"], wanted["processes"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, most = resource.getrlimit(what)
        ceiling = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(what, (min(soft, ceiling), ceiling))


def become(request: dict[str, Any], uid: int, report: int) -> None:
    """Turn this process into the program; whatever goes wrong ends it."""
    folder = request["folder"]
    command = [sys.executable, "-I", "-B", "main.py"]
    env = {"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8",
           "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}  # fmt: skip
    os.chdir(folder)
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:
        _LIBC.prctl(_PR_SECUREBITS, _NO_ROOT, 0, 0, 0)
    _checked(_LIBC.prctl(_PR_NO_NEW_PRIVS, 1, 0, 0, 0))
    about = {"files": _OPEN, "user": "another" if uid else "same"}
    about["forks"] = "rlimit" if os.getuid() else _OPEN
    with contextlib.suppress(OSError):
        about["files"] = lock_files(folder, request["needed"])
    with contextlib.suppress(OSError):
        if not os.getuid():
            about["forks"] = forbid_forks()
    os.write(report, json.dumps(about).encode())
    os.close(report)
    limit(request["limits"])
    os.execve(sys.executable, command, env)


def start(request: dict[str, Any], uid: int) -> tuple[int, int, int]:
    """Start init and, in it, the program.

    Returns:
        Process id of init; the ends to read of the output and of the report.
    """
    output, output_in = os.pipe()
    report, report_in = os.pipe()
    init = os.fork()
    if init:
        os.close(output_in)
        os.close(report_in)
        return init, output, report
    try:
        _LIBC.prctl(_PR_DEATH, signal.SIGKILL, 0, 0, 0)
        program = os.fork()
        if program == 0:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(output_in, 1)
            os.dup2(output_in, 2)
            os.closerange(3, report_in)
            os.closerange(report_in + 1, 256)
            try:
                become(request, uid, report_in)
            except BaseException as error:
                os.write(2, f"the sandbox cannot start the program: {error}".encode())
                os._exit(126)
        os.closerange(0, 256)
        while True:
            pid, status = os.wait()
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if 0 <= code < 128 else 128 - code if code < 0 else 127)
    finally:
        os._exit(126)


def watch(init: int, output: int, wanted: dict[str, Any]) -> tuple[str, int, bytes]:
    """Collect output until the program ends, its time is over or it has written too much.

    Returns:
        `ended`, `timeout` or `output`; the exit status of init; the output.
    """
    deadline = time.monotonic() + wanted["wall_s"]
    text, most, why = b"", int(wanted["output_bytes"]), "ended"
    ended = os.pidfd_open(init)
    with selectors.DefaultSelector() as waiting:
        waiting.register(output, selectors.EVENT_READ)
        waiting.register(ended, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            ready = [key.fd for key, _ in waiting.select(max(0.0, left))]
            if left <= 0:
                why = "timeout"
            elif output in ready:
                part = os.read(output, 65536)
                text += part
                if not part:
                    waiting.unregister(output)
                if len(text) <= most:
                    continue
                why, text = "output", text[:most]
            elif ended not in ready:
                continue
            break
    os.kill(init, signal.SIGKILL)
    return why, os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]), text


def sweep() -> None:
    """Kill what is left: orphans have become children of this process."""
    for _ in range(1000):
        with open(f"/proc/self/task/{os.getpid()}/children") as f:
            left = [int(pid) for pid in f.read().split()]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_TICK_S / 10)


def main() -> None:
    """Run one program."""
    request = json.load(sys.stdin)
    _LIBC.prctl(_PR_DEATH, signal.SIGKILL, 0, 0, 0)
    _LIBC.prctl(_PR_SUBREAPER, 1, 0, 0, 0)
    root = os.getuid() == 0
    uid = _FIRST_UID + os.getpid() % _UIDS if root else 0
    gid = uid or os.getgid()
    folder, limits = request["folder"], request["limits"]
    enforced = {"network": _OPEN, "processes": "process group", "disk": "each file"}
    if request["isolate"]:
        enforced = isolate(root)
    if enforced["disk"] == "all files":
        try:
            mount_room(folder, 4 * limits["file_bytes"], uid or os.getuid(), gid)
            if root:
                open_way(request["needed"])
        except OSError:
            enforced["disk"] = "each file"
    if any(map(blocked, request["needed"])):
        uid = 0
    for name, text in request["files"].items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    if uid:
        os.chown(folder, uid, uid)
    init, output, report = start(request, uid)
    why, code, text = watch(init, output, limits)
    sweep()
    with os.fdopen(report, "rb") as f:
        enforced |= json.loads(f.read() or b"{}")
    if enforced["network"] == _OPEN and enforced.get("files") == "landlock":
        enforced["network"] = "TCP refused" if landlock() >= 4 else _OPEN
    result = {"why": why, "code": code, "output": text.decode("utf-8", "replace")}
    sys.stdout.write(json.dumps(result | {"enforced": enforced}))


if __name__ == "__main__":
    main()
