# SPDX-License-Identifier: MIT
"""The place measurements happen in: a folder, the programs, the page cache, mounts."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from measure import NotMeasured

START_SECONDS = 10


class Lab:
    def __init__(self, build, folder):
        self.build = Path(build).resolve()
        self.folder = Path(folder).resolve()

    @contextlib.contextmanager
    def room(self, name):
        """A folder of its own for one group, gone afterwards."""
        room = self.folder / name
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def ours(self, program):
        path = self.build / program
        if not path.exists():
            raise NotMeasured(f"{path} is not built")
        return str(path)

    def theirs(self, program):
        path = shutil.which(program)
        if not path:
            raise NotMeasured(f"{program} is not installed")
        return program

    def run(self, *command):
        """Run to the end and return what it printed; its failure is an error."""
        command = [str(word) for word in command]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            why = done.stderr.strip() or done.stdout.strip()
            raise RuntimeError(f"{shlex.join(command)}: exit {done.returncode}: {why}")
        return done.stdout

    def run_json(self, *command):
        return json.loads(self.run(*command))

    def timed(self, *command):
        start = time.monotonic()
        self.run(*command)
        return time.monotonic() - start

    @contextlib.contextmanager
    def serving(self, command, ready, stop):
        """A server in the foreground while the block runs; `stop` asks it to end."""
        server = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready():
                if server.poll() is not None or time.monotonic() > deadline:
                    server.kill()
                    raise NotMeasured(f"{command[0]} did not start: {_tail(server)}")
                time.sleep(0.02)
            yield
        finally:
            if server.poll() is None:
                stop(server)
            server.wait()


def _tail(server):
    return server.communicate()[1].decode(errors="replace").strip()[-200:]


def interrupt(server):
    server.send_signal(signal.SIGINT)


def show(*command):
    """The command as somebody would type it: without the folders."""
    words = [os.path.relpath(word) if str(word).startswith("/") else str(word) for word in command]
    return shlex.join(words)


def settle(*paths):
    """Write out what is dirty, so that it does not disturb what is measured next."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def warm(*paths):
    """Read into the page cache."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def cool(*paths):
    """Drop from the page cache; needs no root, unlike drop_caches."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def write_random(path, size, data=None):
    """A sparse file of `size` bytes; `data(chunk_index)` says which MiB hold random bytes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for chunk in range(size >> 20):
            if data is None or data(chunk):
                file.seek(chunk << 20)
                file.write(os.urandom(1 << 20))
    settle(path)
