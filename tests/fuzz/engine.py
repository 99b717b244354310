"""The loop: damaged files one after the other until time is up, in a process whose death costs one file only.

With atheris (pip install atheris; Linux) damage is guided by the lines of calibeval that it reaches; else it is drawn
blindly. What a reader must not do is kept, once a kind, as a file in the folder of findings.
"""

import contextlib
import faulthandler
import importlib.util
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.independent import be_silent
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, prepare, run

_BROKEN = 99  # exit code where the loop itself fails
_SLOW = 5  # seconds of a core for a file of some hundred bytes
_HANGS = 120  # seconds
_MEMORY = 6 * 2**30
_MOST_KEPT = 200  # damaged files that were read, and are damaged further
_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass
class Outcome:
    """What came of a target.

    Attributes:
        runs: files read or refused.
        read: of these, read.
        compared: of these, found alike by another reader.
        findings: kind of fault to the file that shows it.
    """

    runs: int = 0
    read: int = 0
    compared: int = 0
    findings: dict[str, Path] = field(default_factory=dict)


class _Counts:
    """Numbers that outlive the process that counts."""

    def __init__(self):
        self._map = mmap.mmap(-1, 24)

    def add(self, *values):
        counted = struct.pack("3q", *(a + b for a, b in zip(self.values(), values, strict=True)))
        self._map[:] = counted

    def values(self):
        return struct.unpack("3q", self._map[:])


def fuzz(name, seconds, findings, *, seed=0, guided=None, ask=1):
    """Fuzz a target for some seconds.

    Args:
        name: key of `TARGETS`.
        seconds: of wall time.
        findings: folder for files that show a fault.
        seed: of the damage.
        guided: by atheris; None takes it where it is installed.
        ask: the other reader of one file in so many.
    """
    guided = importlib.util.find_spec("atheris") is not None if guided is None else guided
    counts = _Counts()
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        path, seeds = prepare(TARGETS[name], Path(folder))
        if not guided:
            path.write_bytes(TARGETS[name].wrap(seeds[0]))
            TARGETS[name].read(path)  # imports and compiles once for all processes
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            child = os.fork()
            if not child:
                _work(_Job(name, path, seeds, counts, end, findings, ask), seed, guided)
            _, status = os.waitpid(child, 0)
            seed += 1
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _BROKEN:
                sys.exit(f"{name}: see {findings / name}.error.txt")
            if status:
                kind = f"{name}_died_{_how(status)}"
                _keep(findings / kind, path.read_bytes(), kind)
    kept = {file.with_suffix("").name: file for file in findings.glob(f"{name}_*.bin")}
    runs, read, compared = counts.values()
    return Outcome(runs, read, compared, kept)


def _how(status):
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit_{os.WEXITSTATUS(status)}"


def _keep(path, data, text):
    """Keep a file and what it did; the first of its kind only."""
    with contextlib.suppress(FileExistsError), Path(f"{path}.bin").open("xb") as file:
        file.write(data)
        Path(f"{path}.txt").write_text(text, encoding="utf-8")


class _Job:
    """One process at work on a target."""

    def __init__(self, name, path, seeds, counts, end, findings, ask):
        self.name, self.target, self.path, self.seeds = name, TARGETS[name], path, seeds
        self.counts, self.end, self.findings, self.ask = counts, end, findings, ask

    def one(self, data):
        """Read one damaged file; gives whether it was read."""
        begun = time.process_time()
        signal.alarm(_HANGS)  # which ends the process
        read = compared = False
        try:
            read, compared = run(self.target, self.path, data, ask=self.counts.values()[0] % self.ask == 0)
            if (taken := time.process_time() - begun) > _SLOW:
                raise TimeoutError(f"{taken:.0f} s")
        except Exception as error:
            self._found(error, self.path.read_bytes())
        self.counts.add(1, read, compared)
        if time.monotonic() > self.end:
            os._exit(0)
        return read

    def _found(self, error, data):
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "calibeval" in Path(frame.filename).parts] or frames[-1:]
        place = f"{Path(ours[-1].filename).name}_{ours[-1].lineno}"
        kind = f"{self.name}_{type(error).__name__}_{place}".replace("/", "_")
        _keep(self.findings / kind, data, "".join(traceback.format_exception(error)))


def _work(job, seed, guided):
    """Never returns: the process ends when time is up."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    be_silent()
    faulthandler.disable()
    try:
        _guided(job, seed) if guided else _blind(job, seed)
    except BaseException:
        (job.findings / f"{job.name}.error.txt").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(_BROKEN)


def _blind(job, seed):
    """Damage whole files, and sometimes damaged ones that were still read."""
    draws = random.Random(seed)
    kept = deque(job.seeds, _MOST_KEPT)
    while True:
        data = draws.choice(job.seeds if draws.random() < 0.7 else kept)
        damaged = mutate(data, draws)
        if job.one(damaged) and draws.random() < 0.05:
            kept.append(damaged)


def _guided(job, seed):
    """Let atheris choose what to damage further: what reached new lines."""
    import atheris

    begun = time.monotonic()
    with atheris.instrument_imports(include=["calibeval"], enable_loader_override=False):
        job.path.write_bytes(job.target.wrap(job.seeds[0]))
        job.target.read(job.path)  # imports what it needs
    job.end += time.monotonic() - begun

    def damage(data, most, number):
        draws = random.Random(number)
        if draws.random() < 0.5:
            return atheris.Mutate(data, most)
        return mutate(data, draws)[:most]

    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        for number, data in enumerate(job.seeds):
            (Path(folder) / str(number)).write_bytes(data)
        longest = 4 * max(map(len, job.seeds)) + 4096
        options = [f"-seed={seed + 1}", f"-max_len={longest}", "-verbosity=0", "-rss_limit_mb=0", "-timeout=300"]
        atheris.Setup([sys.argv[0], *options, folder], lambda data: job.one(data) and None, custom_mutator=damage)
        atheris.Fuzz()
