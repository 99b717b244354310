"""Everything that reads what others wrote: one row a reader or parser, with whole files to begin from.

A target holds when damaged bytes are either refused by an error of calibeval's tree (no other exception, no crash of
the process, no hang), or read; and where another reader knows the format, to the values that it finds.
"""

import gzip
import io
import json
import math
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import independent
from tests.io.format_samples import array_of, written

KEYS = independent.KEYS
_SHAPE = (2, 3, 4)


class Differs(Exception):
    """Two ways of reading a file give different values."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        file: name that the bytes get.
        seeds: whole files; (an empty folder) gives their bytes.
        read: (path) reads the file as commands do.
        other: (path) gives what an independent reader finds, None where it refuses; None where there is none.
        wrap: (bytes) puts damaged bytes where checksums would keep the damage from the reader.
        beside: gives other files that stay whole: name to bytes.
    """

    file: str
    seeds: Callable[[Path], Iterable[bytes]]
    read: Callable[[Path], Any]
    other: Callable[[Path], Any] | None = None
    wrap: Callable[[bytes], bytes] = bytes
    beside: Callable[[], dict[str, bytes]] = dict


def run(target, path, data, *, ask=True):
    """Read damaged bytes: whether they were read, and whether another reader, if asked, agreed.

    Raises:
        Differs: two readers read different values.
        Exception: what is not of calibeval's tree.
    """
    from calibeval.errors import CalibevalError

    path.write_bytes(target.wrap(data))
    try:
        value = target.read(path)
    except CalibevalError as error:
        str(error)
        return False, False
    if target.other is None or not ask:
        return True, False
    other = independent.opinion(target.other, path)
    if other is not None:
        _compare(value, other, "another reader")
    return True, other is not None


def prepare(target, folder):
    """The path that a target's bytes go to, with what lies beside it; and its whole files."""
    for name, content in target.beside().items():
        (folder / name).write_bytes(content)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        seeds = list(target.seeds(Path(name)))
    return folder / target.file, seeds


def _compare(value, other, who):
    value, other = np.asarray(value), np.asarray(other)
    floats = value.dtype.kind == other.dtype.kind == "f"
    if value.shape != other.shape or not np.array_equal(value, other, equal_nan=floats):
        raise Differs(f"{who} finds {other.shape} {other.dtype}, calibeval {value.shape} {value.dtype}")


def read_image(path):
    """All ways that the values of an image take."""
    from calibeval.io.arrays import array_keys, open_array, segments_of, with_parts
    from calibeval.io.probabilities import file_source

    with_parts(path)
    file = open_array(path, KEYS)
    array_keys(path)
    segments_of(path)
    values = np.array(file.load())
    if values.shape != file.shape:
        raise Differs(f"the file opens as {file.shape} and loads as {values.shape}")
    if file.stream is not None and not file.scaled:
        planes = [chunk.values for chunk in file_source(file, file.shape).chunks()]
        _compare(np.concatenate(planes), values.ravel().astype(planes[0].dtype), "streaming")
    return values


def images(*suffixes, dtypes=("uint8", "float32"), part=""):
    """Small files of some suffixes, or of each the other file that belongs to it."""

    def seeds(folder):
        for suffix in suffixes:
            for dtype in dtypes:
                path = written(folder, suffix, array_of(suffix, dtype, _SHAPE))
                yield (path.with_name(part) if part else path).read_bytes()

    return seeds


def _beside(suffix, name):
    """The values of a header in a file of their own, as it names them."""

    def made():
        with tempfile.TemporaryDirectory() as folder:
            written(Path(folder), suffix, array_of(suffix, "uint8", _SHAPE))
            return {name: (Path(folder) / name).read_bytes()}

    return made


def unzipped(seeds):
    """The same, decompressed."""
    return lambda folder: (gzip.decompress(content) for content in seeds(folder))


def zipped(data):
    """Fast gzip with a right checksum."""
    return gzip.compress(data, 1, mtime=0)


def in_zip(data):
    """An NPZ of one array with a right checksum."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("image.npy", data)
    return archive.getvalue()


def right_chunks(data):
    """A PNG whose chunks have right checksums, as far as its bytes are chunks."""
    whole, place = data[:8], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + size]
        whole += data[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + size
    return whole + data[place:]


def read_scores(path):
    """As `rank` and `check` read tables; what is read must be read again from what is written."""
    from calibeval.gates.scores import load_scores
    from calibeval.ranking.inputs import read_inputs
    from calibeval.table import Row, read_table, write_table

    tables = read_inputs([path])
    if not tables.has_cases:
        return
    frame = load_scores(path, tables.frame["method"].iloc[0]).frame
    again = path.with_name("again.csv")
    write_table(again, (Row(*row) for row in frame.itertuples(index=False)), signature="")
    found = read_table(again)[1]["value"].to_numpy()
    if not np.array_equal(found, frame["value"].to_numpy(), equal_nan=True):
        raise Differs("a table that was read, written and read again has other values")


def our_tables(folder):
    """Results tables of this version and of 0.1."""
    from calibeval.protocol import PROTOCOLS
    from calibeval.table import Row, render_table

    rows = [
        Row("m", "d", case, name, metric, value, unit, status, note)
        for case in ("a", "b")
        for name, metric, value, unit, status, note in (
            ("LV", "DSC", 0.75, "", "ok", ""),
            ("mean", "DSC", 0.5, "", "ok", "x, y"),
            ("mean", "HD95", math.nan, "mm", "both_empty", ""),
            ("all", "ECE", 0.1, "", "ok", ""),
        )
    ]
    text = render_table(rows, signature=PROTOCOLS["paper"].signature, command="calibeval score p l --bins 10")
    yield text.encode()
    yield (
        f"# calibeval 0.1.0\n# signature: {PROTOCOLS['paper'].signature}\n# command: calibeval score p l\n"
        "method,dataset,case,class,metric,value,unit,status,note\nm,d,a,LV,DSC,0.75,,ok,\nm,d,a,mean,DSC,0.75,,ok,\n"
        "m,d,a,mean,HD95,,mm,both_empty,diagonal_mm=12.5\nm,d,a,all,ECE,0.1,,ok,\nm,d,pooled,all,ECE,0.1,,ok,\n"
        "m,d,pooled,mean,DSC,0.75,,ok,\n"
    ).encode()


def foreign_tables(_folder):
    """One of each form that others write, and tables of a method a row."""
    from tests.test_foreign import CHALLENGER, GROUPS, MONAI, PANOPTICA, PLAIN, TIDY

    wide = "method,DSC,ECE\nA,0.9,0.1\nB,0.8,0.2\n"
    for text in (CHALLENGER, MONAI, TIDY, PANOPTICA, GROUPS, PLAIN, wide, wide.replace(",", ";").replace(".", ",")):
        yield text.encode()


def read_bins(path):
    """A side file, and the pooled numbers that are made of it."""
    from calibeval.bins import read_bins as read
    from calibeval.metrics.calibration import CALIBRATION_FUNCTIONS
    from calibeval.protocol import PROTOCOLS

    for statistics in read(path).pooled().values():
        for function in CALIBRATION_FUNCTIONS.values():
            function(statistics, PROTOCOLS["paper"])


def side_files(folder):
    """A side file, stored without compression so that damage gets through."""
    from calibeval.bins import write_bins
    from calibeval.protocol import PROTOCOLS
    from tests.test_bins import some_statistics

    path = folder / "a.bins.npz"
    cases = {f"case {i}": {"": some_statistics(i)} for i in range(2)}
    write_bins(path, cases, PROTOCOLS["paper"], signature=PROTOCOLS["paper"].signature, class_names=("b", "R", "L"))
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files})
    yield path.read_bytes()


def right_members(data):
    """A ZIP whose checksums are those of its stored members, as far as its directory can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except Exception:
        return data
    whole = bytearray(data)
    for info in infos:
        lengths = (data[info.header_offset + place : info.header_offset + place + 2] for place in (26, 28))
        start = info.header_offset + 30 + sum(int.from_bytes(length, "little") for length in lengths)
        told, found = (
            crc.to_bytes(4, "little") for crc in (info.CRC, zlib.crc32(data[start : start + info.file_size]))
        )
        for place in (data.find(told, info.header_offset), data.rfind(told)):
            whole[place : place + 4] = found
    return bytes(whole)


def read_shard(path):
    """A case that an interrupted run kept."""
    from calibeval.scoring.shards import ShardStore

    store = ShardStore(path.with_name("t.csv"))
    store._path("a").parent.mkdir(exist_ok=True)
    store._path("a").write_bytes(path.read_bytes())
    store.load("a", "key")


def shards(folder):
    from calibeval.scoring.shards import CaseScore, ShardStore
    from calibeval.table import Row
    from tests.test_bins import some_statistics

    store = ShardStore(folder / "t.csv")
    store.save("a", "key", CaseScore((Row("", "", "a", "LV", "DSC", 0.5),), {"": some_statistics(1)}))
    yield store._path("a").read_bytes()


def read_cases(path):
    from calibeval.case_table import groups, patient_of
    from calibeval.case_table import read_cases as read
    from calibeval.io.scheme import ClassScheme
    from calibeval.scoring.annotated import read_annotated

    table = read(path)
    for case in table.rows:
        patient_of(case)
    groups(table.rows, "patient", table)
    read_annotated(table, table.rows, ClassScheme(names=("background", "liver", "spleen")))


def read_manifest(path):
    from calibeval.io.manifest import read_manifest as read

    read(path)


def read_scheme(path):
    """dataset.json or dseg.tsv, as beside labels and beside images."""
    from calibeval.io.scheme import make_scheme, read_channel_names

    _ = make_scheme([path.parent]).choices
    read_channel_names(path.parent)


def read_gates(path):
    from calibeval.gates.policy import read_policy

    policy = read_policy(path, path.parent)
    _ = policy.options, policy.metrics, [(str(gate), gate.percent) for gate in policy.gates]


def read_gate_lines(path):
    """Gates, margins and other choices as they stand on a command line; each line by itself must be of the tree."""
    from calibeval.errors import CalibevalError
    from calibeval.gates.policy import parse_gate, parse_margin_option
    from calibeval.io.scheme import make_scheme
    from calibeval.wording import parse_part

    parsers: tuple[Callable[[str], Any], ...] = (
        lambda text: parse_gate(str(parse_gate(text))),
        parse_margin_option,
        lambda text: parse_part(text, "--shard"),
        lambda text: make_scheme([], classes=text),
        lambda text: make_scheme([], label_map=text),
        lambda text: make_scheme([], regions=text),
    )
    for line in path.read_bytes().decode("utf-8", "surrogateescape").split("\n"):
        for parse in parsers:
            try:
                parse(line)
            except CalibevalError as error:
                str(error)


def read_signature(path):
    """A signature and the command beside it, as tables hold them; `merge` scores by the command."""
    from calibeval.protocol import PROTOCOLS, domain_of
    from calibeval.scoring.options import options_of_command, options_of_table
    from calibeval.signature import Signature

    text, _, command = path.read_bytes().decode("utf-8", "surrogateescape").partition("\n")
    signature = Signature.parse(text)
    ours = PROTOCOLS["paper"].signature
    signature.differs(ours), ours.differs(signature, ["ECE"]), signature.shared(ours), domain_of(signature, "ECE")
    if Signature.of(signature.name, signature.parts).differs(signature):
        raise Differs("a signature that is written again differs")
    options_of_table(options_of_command(command), "a table")


def signatures(_folder):
    from calibeval.protocol import PROTOCOLS

    for name in PROTOCOLS:
        yield (PROTOCOLS[name].signature + "\ncalibeval score p l --bins 10 --metrics 'DSC,ECE' --hd95=medpy").encode()


def read_calibrator(path):
    from calibeval.calibrate.calibrator import read_calibrator as read

    calibrator = read(path)
    if calibrator.method != "conformal":
        n = len(calibrator.classes)
        p = np.random.default_rng(0).dirichlet(np.ones(n), 5)
        calibrator.of_planes(p.T)


def calibrators(folder):
    """Every method, fitted on three classes; and conformal thresholds."""
    from calibeval.calibrate.calibrator import Calibrator, write_calibrator
    from calibeval.calibrate.methods import METHODS

    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(3), 40)
    y = random.integers(0, 3, 40)
    names = ("background", "RV", "LV")
    made = [Calibrator(name, names, {"": METHODS[name].fit(p, y, np.ones(40), 1e-6)}, 1e-6) for name in METHODS]
    made.append(Calibrator("conformal", names, {name: {"inner": 0.9, "outer": 0.2} for name in names[1:]}, 1e-6))
    for calibrator in made:
        write_calibrator(folder / "c.json", calibrator)
        yield (folder / "c.json").read_bytes()


def read_checkpoint(path):
    from calibeval.train.checkpoint import load_network
    from calibeval.train.checkpoint import read_checkpoint as read

    load_network(read(path), path)


def checkpoints(folder):
    from calibeval.train.checkpoint import Checkpoint, write_checkpoint
    from calibeval.train.config import TrainConfig
    from calibeval.train.models import Network, build_network

    network = Network("unet", 2, 1, 2)
    weights = build_network(network).state_dict()
    write_checkpoint(folder / "c.pt", Checkpoint(network, weights, ("b", "f"), TrainConfig("d", "o"), {}, (32, 32)))
    yield (folder / "c.pt").read_bytes()


def read_config(path):
    from calibeval.train.config import config_to_dict
    from calibeval.train.config import read_config as read

    config_to_dict(read(path))


def configs(_folder):
    from calibeval.train.config import TrainConfig, config_to_dict

    yield json.dumps(config_to_dict(TrainConfig("data", "out")), indent=2).encode()


def read_split(path):
    from calibeval.train.record import read_split as read

    _ = {case for part in read(path.parent) for case in part}


def read_decathlon(path):
    from calibeval.datasets.msd import find_cases

    return find_cases(path.parent)


def read_info(path):
    from calibeval.datasets.acdc import read_info

    return read_info(path)


def read_preparation(path):
    """The record of an earlier run, where one scan is to be prepared."""
    from calibeval.datasets import DATA_SETS, plan_preparation
    from calibeval.datasets.grid import Grid

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train_000_0000.nii.gz").touch()
        (Path(folder) / "train_000.nii.gz").touch()
        return plan_preparation(DATA_SETS["flare"], Path(folder), path.parent, Grid())


def texts(*found):
    """Seeds as they stand."""
    return lambda _folder: (text.encode() for text in found)


_GATES = (
    'fail = ["mean(ECE) <= 0.05", "pooled(ECE) < 0.02"]\nwarn = ["p95(HD95[LV]) <= 12", "n_failed <= 0"]\n'
    'margins = { DSC = 0.01, "DSC[LV]" = 0.02 }\nmethod = "m"\nmin_cases = 10\nalpha = 0.05\n'
    'score = { protocol = "paper", bins = 10 }\nintegrity = { argmax = "warn" }\n'
)
_BESIDE = '{"labels": {"background": 0, "a": 1, "b": 4}, "regions": {"whole": [1, 4], "b": 4}}'
_PREPARED = json.dumps(
    {
        "choices": {"data_set": "flare", "spacing": [], "size": [], "around": "centre"},
        "cases": {
            "train_000": {
                "row": {"patient": "train_000", "part": "train"},
                "files": {"train_000.nii.gz": [0, 1]},
                "voxels": {"liver": 3},
                "cut": {"liver": 1},
            }
        },
    }
)
_DECATHLON = json.dumps(
    {
        "name": "PROSTATE",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": ["./imagesTs/b.nii.gz"],
    }
)
_DATASET = json.dumps(
    {
        "name": "d",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
        "regions_class_order": [1, 2],
    }
)
_FILES = "case,prediction,reference,method\na,again.csv,again.csv,m\nb,x_0.nii;x_1.nii,y.nii,m\nc,,y.nii,m\n"

TARGETS: dict[str, Target] = {
    "nii": Target("a.nii", images(".nii"), read_image, independent.by_nibabel),
    "nii.gz": Target("a.nii.gz", images(".nii.gz"), read_image, independent.by_nibabel),
    "nii.gz-inside": Target("a.nii.gz", unzipped(images(".nii.gz")), read_image, independent.by_nibabel, zipped),
    "hdr": Target(
        "a.hdr", images(".img", dtypes=("uint8",), part="a.hdr"), lambda path: read_image(path.with_suffix(".img")),
        lambda path: independent.by_nibabel(path.with_suffix(".img")), beside=_beside(".img", "a.img"),
    ),
    "mgh": Target("a.mgh", images(".mgh"), read_image, independent.by_nibabel_mgh),
    "mgz": Target("a.mgz", unzipped(images(".mgz")), read_image, independent.by_nibabel_mgh, zipped),
    "npy": Target("a.npy", images(".npy"), read_image, independent.by_numpy),
    "npz": Target("a.npz", images(".npz"), read_image, independent.by_numpy),
    "npz-inside": Target("a.npz", images(".npy"), read_image, independent.by_numpy, in_zip),
    "mha": Target("a.mha", images(".mha"), read_image, independent.by_itk),
    "mhd": Target(
        "a.mhd", images(".mhd", dtypes=("uint8",)), read_image, independent.by_itk, beside=_beside(".mhd", "a.raw")
    ),
    "nrrd": Target("a.nrrd", images(".nrrd"), read_image, independent.by_pynrrd),
    "nhdr": Target(
        "a.nhdr", images(".nhdr", dtypes=("uint8",)), read_image, independent.by_pynrrd,
        beside=_beside(".nhdr", "a.raw.gz"),
    ),
    "seg.nrrd": Target("a.seg.nrrd", images(".seg.nrrd", dtypes=("uint8",)), read_image),
    "png": Target("a.png", images(".png", dtypes=("uint8", "uint16")), read_image, independent.by_itk),
    "png-inside": Target(
        "a.png", images(".png", dtypes=("uint8", "uint16")), read_image, independent.by_itk, right_chunks
    ),
    "tif": Target("a.tif", images(".tif"), read_image, independent.by_tifffile),
    "h5": Target("a.h5", images(".h5"), read_image, independent.by_h5py),
    "dcm": Target("a.dcm", images(".dcm", dtypes=("uint8",)), read_image),
    "table": Target("t.csv", our_tables, read_scores),
    "foreign": Target("t.csv", foreign_tables, read_scores),
    "summary.json": Target(
        "summary.json",
        texts('{"metric_per_case": [{"reference_file": "r/a.nii.gz", "metrics": {"1": {"Dice": 0.9, "IoU": null}}}]}'),
        read_scores,
    ),
    "bins": Target("t.bins.npz", side_files, read_bins, wrap=right_members),
    "shard": Target("a.npz", shards, read_shard, wrap=right_members),
    "cases.csv": Target(
        "cases.csv", texts("case,patient,annotated\na_1,p1,liver\nb_2,p2,liver;spleen\nc,p1,\n"), read_cases
    ),
    "manifest": Target("m.csv", texts(_FILES), read_manifest),
    "dataset.json": Target(
        "dataset.json", texts(_DATASET, _BESIDE, '{"labels": {"0": "background", "1": "L"}}'), read_scheme
    ),
    "decathlon": Target("dataset.json", texts(_DECATHLON), read_decathlon),
    "Info.cfg": Target("Info.cfg", texts("ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\n"), read_info),
    "prepare.json": Target("prepare.json", texts(_PREPARED), read_preparation),
    "dseg.tsv": Target("dseg.tsv", texts("index\tname\tabbreviation\n0\tnone\tn\n1\tliver\tL\n"), read_scheme),
    "gates.toml": Target("gates.toml", texts(_GATES), read_gates),
    "gate": Target(
        "gates.txt",
        texts("mean(|gap|) <= 0.01\np95(HD95[LV]) <= 12", "DSC[LV]=0.01\n1/5", "a,b,c\n4=3,5=0\nWT=1,2,3;TC=2,3"),
        read_gate_lines,
    ),
    "signature": Target("s.txt", signatures, read_signature),
    "calibrator.json": Target("c.json", calibrators, read_calibrator),
    "checkpoint": Target("c.pt", checkpoints, read_checkpoint, wrap=right_members),
    "config.json": Target("config.json", configs, read_config),
    "splits.json": Target("splits.json", texts('{"train": ["a", "b"], "val": ["c"], "test": ["d"]}'), read_split),
}  # fmt: skip
