"""Run the command line: `python -m calibeval` and the `calibeval` script."""

from __future__ import annotations


def main() -> None:
    """Parse the command line, run the command, exit with its code."""
    try:
        from calibeval.cli import run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
