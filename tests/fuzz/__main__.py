"""`python -m tests.fuzz TARGET ... --seconds N`: fuzz readers, and tell what came of it; exit 1 where a fault is found.

Without a target all are fuzzed, one after the other. Files that show a fault stay in the folder --out; read one again
with --replay FILE.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import TARGETS, prepare, run


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "calibeval-fuzz")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--replay", type=Path, help="read this one file as TARGET")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.targets if name not in TARGETS]:
        parser.error(f"unknown target {unknown[0]}; known: {', '.join(TARGETS)}")
    return chosen


def _replay(name, file):
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, _ = prepare(target, Path(folder))
        path.write_bytes(file.read_bytes())
        print(run(target, path, file.read_bytes()) if target.wrap is bytes else target.read(path))


def main():
    chosen = _arguments()
    if chosen.replay:
        return _replay(chosen.targets[0], chosen.replay)
    faults = 0
    for name in chosen.targets or TARGETS:
        begun = time.monotonic()
        guided = False if chosen.blind else None
        outcome = fuzz(name, chosen.seconds, chosen.out, seed=chosen.seed, guided=guided)
        rate = outcome.runs / (time.monotonic() - begun)
        print(
            f"{name}: {outcome.runs} files ({rate:.0f}/s), {outcome.read} read, {outcome.compared} of these as another "
            f"reader does, {len(outcome.findings)} faults",
            flush=True,
        )
        for kind, file in outcome.findings.items():
            print(f"  {kind}: {file}")
        faults += len(outcome.findings)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
