"""Damage to files: what transfers, editors and hostile hands do, by draws from a `random.Random`.

Hypothesis gives such a generator as well (`strategies.randoms`), and then finds the smallest damage.
"""

import re

# Numbers at the borders of the types in headers, and words that parsers trip over.
_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_WORDS = (
    b"-1", b"0", b"nan", b"inf", b"-inf", b"1e400", b"1e-400", b"1e9", b"0x10", b"2147483648", b"9223372036854775808",
    b"9" * 400, b"x" * 5000, b"true", b"null", b"[]", b"{}", b'""', b"'", b'"', b"\n", b"\r\n", b"\0", b",", b";", b"=",
    b":", b"|", b"%s", b"../..", b"=1+1", b"\x1b[2J", b"\xff\xfe", b"\xef\xbb\xbf", "ä".encode(), b"\xd9\xa1", b" ",
)  # fmt: skip
_TOKEN = re.compile(rb"[+-]?[\d.]+|[A-Za-z_]+|[^\sA-Za-z\d]")


def mutate(data, random):
    """One to four kinds of damage to some bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = random.choice(_KINDS)(data, random)
    return data


def _flip(data, random):
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _number(data, random):
    """A number of one to eight bytes at the border of a type, in either order."""
    size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    number = random.choice(_NUMBERS) * random.choice((1, -1)) % 2 ** (8 * size)
    place = random.randrange(max(1, len(data) - size + 1))
    return data[:place] + number.to_bytes(size, order) + data[place + size :]


def _cut(data, random):
    return data[: random.randrange(len(data) + 1)]


def _remove(data, random):
    place = random.randrange(len(data) + 1)
    return data[:place] + data[place + random.choice((1, 2, 4, 8, 64)) :]


def _insert(data, random):
    place = random.randrange(len(data) + 1)
    return data[:place] + random.choice(_WORDS) + data[place:]


def _repeat(data, random):
    place, size = random.randrange(len(data) + 1), random.choice((1, 4, 16, 256))
    return data[:place] + data[place : place + size] * random.choice((2, 3, 50)) + data[place + size :]


def _swap(data, random):
    """Two lines of text change places, or one goes."""
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return data
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = random.choice((b"", lines[other])), lines[one]
    return b"".join(lines)


def _word(data, random):
    """One word, number or mark becomes another."""
    found = list(_TOKEN.finditer(data[:20_000]))
    if not found:
        return data
    old = random.choice(found)
    new = random.choice((random.choice(_WORDS), random.choice(found)[0], str(random.choice(_NUMBERS)).encode()))
    return data[: old.start()] + new + data[old.end() :]


_KINDS = (_flip, _number, _cut, _remove, _insert, _repeat, _swap, _word, _word)
