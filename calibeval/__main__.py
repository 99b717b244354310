"""Run the command line: `python -m calibeval` and the `calibeval` script."""

from __future__ import annotations


def main() -> None:
    """Parse the command line, run the command, exit with its code."""
    from calibeval.cli import run

    run()


if __name__ == "__main__":
    main()
