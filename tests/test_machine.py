"""What may be taken of the machine."""

import pytest

from calibeval import machine
from calibeval.errors import UsageError
from calibeval.machine import available_memory, limit_memory
from calibeval.wording import parse_size


def test_memory_is_that_of_the_tightest_group_and_a_share_of_it(tmp_path, monkeypatch):
    monkeypatch.delenv(machine.LIMIT, raising=False)
    monkeypatch.setattr(machine, "_groups", lambda: [tmp_path / "inner", tmp_path / "outer"])
    for name, limit, used in (("inner", "max", 5), ("outer", 3000, 1000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(f"{limit}\n")
        (tmp_path / name / "memory.current").write_text(f"{used}\n")
    assert available_memory() == pytest.approx(0.9 * 2000)


def test_a_limit_holds_while_it_is_set(monkeypatch):
    monkeypatch.delenv(machine.LIMIT, raising=False)
    free = available_memory()
    with limit_memory(1000):
        assert available_memory() == 1000
        with limit_memory(None):
            assert available_memory() == 1000
    assert available_memory() == pytest.approx(free, rel=0.5)


@pytest.mark.parametrize(
    ("text", "size"), [("500M", 500 << 20), ("1.5 GiB", 3 << 29), ("2g", 2 << 30), ("1000", 1000), ("7B", 7)]
)
def test_sizes_are_read_in_powers_of_1024(text, size):
    assert parse_size(text, "--max-memory") == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "nan", "inf", "4 apples", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--max-memory expects a size"):
        parse_size(text, "--max-memory")
