"""What is decided before training: whose the cases are, and how many classes there are."""

import numpy as np
import pytest

from calibeval.errors import UsageError
from calibeval.train.config import make_config
from calibeval.train.plan import make_plan
from calibeval.train.run import describe_plan
from tests.train.data_sets import SHAPE, disc_case, write_nifti, write_nnunet, write_npz_slices

ACDC = [f"patient{patient:03d}_{frame:02d}_{z}" for patient in range(1, 5) for frame in (1, 9) for z in range(2)]


def plan(data, **settings):
    config = make_config("", data=str(data), out="run", width=4, **{"fold": "1/4", **settings})
    return config, make_plan(config)


def write_png(data, names):
    """2-D slices in an nnU-Net folder."""
    import SimpleITK as sitk

    for part, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
        (data / part).mkdir(parents=True)
        for index, name in enumerate(names):
            image, label = disc_case(index)
            array = label[0] if part == "labelsTr" else image[0, 0].clip(0, 255).astype(np.uint8)
            sitk.WriteImage(sitk.GetImageFromArray(array), data / part / f"{name}{ending}.png")
    (data / "dataset.json").write_text('{"labels": {"background": 0, "ring": 1, "disc": 2}}')
    return data


def write_npz(data, names):
    data.mkdir()
    for index, name in enumerate(names):
        image, label = disc_case(index)
        np.savez(data / f"{name}.npz", image=image[:, 0], label=label[0])
    return data


@pytest.mark.parametrize("write", [write_nnunet, write_npz, write_png])
def test_slices_of_a_patient_stay_together_in_every_format(tmp_path, write):
    data = write(tmp_path / "data", ACDC)
    config, found = plan(data)
    patients = [{case.split("_")[0] for case in part} for part in found.split]
    assert [len(part) for part in patients] == [2, 1, 1] and len(set.union(*patients)) == 4
    assert "groups    4 patients, for example patient001_01_0 is of patient001\n" in describe_plan(config, found)
    config, found = plan(data, group_by="none")
    assert len(found.groups) == len(set(found.groups.values())) == 16
    assert "groups    16 cases, each case by itself\n" in describe_plan(config, found)


def test_a_table_and_an_expression_group_cases(tmp_path):
    data = write_nnunet(tmp_path / "data", [f"scan{number}" for number in range(6)])
    table = tmp_path / "cases.csv"
    table.write_text("case,patient,centre\n" + "".join(f"scan{n},P{n // 2},C{n % 3}\n" for n in range(6)))
    config, found = plan(data, fold="1/3", cases=str(table))
    assert found.groups == {f"scan{n}": f"P{n // 2}" for n in range(6)}
    assert "groups    3 patients, for example scan0 is of P0\n" in describe_plan(config, found)
    config, found = plan(data, fold="1/3", cases=str(table), group_by="centre")
    assert found.groups["scan4"] == "C1" and "groups    3 groups, for example scan0 is of C0\n" in describe_plan(
        config, found
    )
    _, found = plan(data, fold="1/6", group_by=r"scan(\d)")
    assert found.groups["scan4"] == "4"


def test_names_that_may_hide_a_patient_ask(tmp_path):
    data = write_nnunet(tmp_path / "data", [f"s{patient}_{visit}" for patient in range(3) for visit in (1, 2)])
    with pytest.raises(UsageError, match=r"Names may hide several images of one patient: s0_1, s0_2\. .*--cases FILE"):
        plan(data)


def test_a_patient_in_two_folders_of_a_data_set_is_refused(tmp_path):
    for part, names in (("train", ["patient1_ED"]), ("val", ["patient2_ED"]), ("test", ["patient1_ES"])):
        write_npz_slices(tmp_path / part, names)
    with pytest.raises(UsageError, match="patient1 lie in train/ and in test/"):
        plan(tmp_path, fold="")
    _, found = plan(tmp_path, fold="", group_by="none")
    assert found.split == (("patient1_ED",), ("patient2_ED",), ("patient1_ES",))


def test_labels_with_gaps_are_no_network_of_many_classes(tmp_path):
    names = [f"case_{number}" for number in range(4)]
    data = write_nnunet(tmp_path / "data", names)
    for index, name in enumerate(names):
        write_nifti(data / "labelsTr" / f"{name}.nii.gz", disc_case(index)[1] * 85)
    (data / "dataset.json").unlink()
    labels = '{"labels": {"background": 0, "label 85": 85, "label 170": 170}}'
    with pytest.raises(
        UsageError, match=r"the labels 0, 85, 170 are grey levels, .* would make 171 classes.*dataset\.json"
    ) as error:
        plan(data)
    assert str(error.value).endswith(labels)
    (data / "dataset.json").write_text(labels)  # what the message says works
    _, found = plan(data)
    assert found.classes == ("background", "label 85", "label 170") and found.network.classes == 3
    assert set(np.unique(found.train[0].label)) == {0, 1, 2}


def test_labels_that_leave_a_number_out_are_asked_for(tmp_path):
    data = write_nnunet(tmp_path / "data", [f"case_{number}" for number in range(4)])
    for number in range(4):
        label = disc_case(number)[1]
        write_nifti(data / "labelsTr" / f"case_{number}.nii.gz", np.where(label == 2, 3, label))
    (data / "dataset.json").unlink()
    with pytest.raises(UsageError, match=r"the labels 0, 1, 3 leave numbers out: they would make 4 classes\."):
        plan(data)


def test_labels_without_names_are_numbered(tmp_path):
    data = write_nnunet(tmp_path / "data", [f"case_{number}" for number in range(4)])
    (data / "dataset.json").unlink()
    _, found = plan(data)
    assert found.classes == ("0", "1", "2")
    for number in range(4):
        write_nifti(data / "labelsTr" / f"case_{number}.nii.gz", np.zeros(SHAPE, np.uint8))
    _, found = plan(data)
    assert found.classes == ("0", "1")
