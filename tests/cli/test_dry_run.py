"""`score --dry-run` looks at label values, and says one cause once."""

import numpy as np


def test_a_label_value_that_stands_for_no_class_is_told_once_with_its_option(tmp_path, cli):
    label = np.zeros((16, 16), np.uint8)
    label[4:12, 4:12] = 255
    foreground = np.where(label > 0, 0.8, 0.1).astype(np.float32)
    for folder in ("m", "l"):
        (tmp_path / folder).mkdir()
    for case in range(20):
        np.save(tmp_path / "m" / f"c{case:02d}.npy", np.stack([1 - foreground, foreground]))
        np.save(tmp_path / "l" / f"c{case:02d}.npy", label)
    dry = cli("score", "m", "l", "--dry-run")
    assert dry.code == 3
    assert dry.out.count("stands for no class") == 1
    assert "20 cases (c00, c01, c02, ...)" in dry.out
    assert "--map 255=1" in dry.out
    outcome = cli("score", "m", "l")
    assert outcome.code == 2
    assert outcome.err.count("stands for no class") == 1
    assert cli("score", "m", "l", "--dry-run", "--map", "255=1").code == 0


def test_it_does_not_name_itself_as_the_remedy(tmp_path, cli):
    for folder, shape in (("m", (3, 4, 5, 7)), ("l", (4, 5, 6))):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.zeros(shape, np.float32))
    assert "--dry-run" in cli("score", "m", "l").err
    assert "--dry-run" not in cli("score", "m", "l", "--dry-run").out
