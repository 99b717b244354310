"""Properties that every loss must have, known optima, values by hand, and refusals."""

import copy
import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from calibeval.errors import UsageError
from calibeval.protocol import make_protocol
from calibeval.score import score_case
from calibeval.table import ALL as ALL_CLASSES
from calibeval.train.losses import (
    LOSSES,
    DiceCELoss,
    ECPLoss,
    FCLLoss,
    FocalLoss,
    HardL1ACELoss,
    LabelSmoothingLoss,
    MbLSLoss,
    NACLLoss,
    SDCLoss,
    SoftL1ACELoss,
    SumLoss,
    SVLSLoss,
    build_loss,
)
from tests.train.loss_example import CLASSES, example

pytestmark = pytest.mark.filterwarnings("ignore:The SDC authors' released distance term")

SPECS = [spec for name, loss in LOSSES.items() for spec in (name, *(f"{name}:{variant}" for variant in loss.variants))]
MORPHED = {
    f"{name}+{morph}": (name, morph) for name in ("sdc", "nacl", "svls:margin") for morph in ("gradient", "erosion")
}
KERNELS = {f"nacl+{kernel}": kernel for kernel in ("max", "median", "mode", "gaussian")}
ALL = [*SPECS, *MORPHED, *KERNELS]

# Each loss is in exactly one set of each pair; the tests below assert both sides.
DEPENDS_ON_SHIFT = {s for s in ALL if s.startswith(("nacl", "svls:margin")) and s != "nacl:prob"}
DEPENDS_ON_NUMBERING = {"nacl:min", "nacl+max", "nacl+median", "dicece:nnunet"}


def make(spec, **settings):
    if spec in MORPHED:
        spec, settings["morph"] = MORPHED[spec]
    if spec in KERNELS:
        spec, settings["kernel"] = "nacl", KERNELS[spec]
    ignore_index = settings.pop("ignore_index", -100)
    return build_loss(spec, settings, ignore_index)


def test_registry_describes_every_loss():
    assert list(LOSSES) == [
        "dicece", "fl", "ecp", "ls", "svls", "mbls", "nacl", "fcl", "sdc",
        "hard_l1ace", "soft_l1ace",
    ]  # fmt: skip
    for name, loss in LOSSES.items():
        assert loss.name == name
        assert all((loss.long_name, loss.formula, loss.citation))
        assert isinstance(build_loss(name, loss.defaults), loss.build)
    published = {
        "fl": {"gamma": 3.0}, "ecp": {"lam": 0.1}, "ls": {"alpha": 0.1}, "svls": {"sigma": 2.0},
        "mbls": {"margin": 10.0, "alpha": 0.1}, "nacl": {"alpha": 0.1}, "fcl": {"gamma": 3.0, "lam": 0.1},
        "sdc": {"alpha": 0.1, "lam": 0.1, "kappa": 1.0},
        "hard_l1ace": {"lam": 1.0, "bins": 20}, "soft_l1ace": {"lam": 1.0, "bins": 20},
    }  # fmt: skip
    for name, settings in published.items():
        assert settings.items() <= LOSSES[name].defaults.items()


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("shape", [(2, 12, 12), (1, 6, 12, 12)])
def test_scalar_and_sum_of_terms(spec, shape):
    logits, labels = example(shape)
    loss = make(spec)
    value, terms = loss(logits, labels), loss.terms(logits, labels)
    assert value.ndim == 0 and value.dtype == torch.float64
    torch.testing.assert_close(sum(terms.values()), value)
    ahead = loss.targets(labels, CLASSES)
    assert all(each.shape == logits.shape for each in ahead.values())
    torch.testing.assert_close(loss(logits, labels, targets=ahead), value, rtol=0, atol=0)


@pytest.mark.parametrize("spec", ALL)
def test_label_layouts_of_monai_and_nnunet(spec):
    logits, labels = example()
    loss = make(spec)
    for layout in (labels[:, None], labels[:, None].float(), labels.to(torch.uint8), labels.to(torch.int16)):
        torch.testing.assert_close(loss(logits, layout), loss(logits, labels), rtol=0, atol=0)


@pytest.mark.parametrize("spec", ALL)
def test_gradient(spec):
    logits, labels = example((1, 6, 7))
    assert torch.autograd.gradcheck(lambda z: make(spec)(z, labels), logits.requires_grad_(), nondet_tol=0)


@pytest.mark.parametrize("spec", ALL)
def test_finite_at_huge_logits(spec):
    for seed in range(2):
        logits, labels = example(seed=seed, dtype=torch.float32)
        logits = (1e4 * logits.sign()).requires_grad_()
        value = make(spec)(logits, labels)
        value.backward()
        assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.5])
def test_focal_gradients_are_finite_where_a_voxel_is_certain(gamma):
    """The slope of (1 - p)^gamma is infinite at p = 1 for gamma < 1."""
    for loss in (FocalLoss(gamma=gamma), FCLLoss(gamma=gamma)):
        for size in (0.0, 1.0, 30.0, 1e4):
            logits = torch.tensor([size, -size]).view(1, 2, 1, 1).requires_grad_()
            for label in (0, 1):
                value = loss(logits, torch.full((1, 1, 1), label))
                assert value.isfinite() and torch.autograd.grad(value, logits)[0].isfinite().all()


@pytest.mark.parametrize("spec", ALL)
def test_full_precision_under_autocast_and_from_half(spec):
    logits, labels = example(dtype=torch.float32)
    loss = make(spec)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(logits, labels), loss(logits, labels))
        inside = loss(logits, labels)
    torch.testing.assert_close(inside, loss(logits, labels), rtol=0, atol=0)
    half = logits.half().requires_grad_()
    value = loss(half, labels)
    value.backward()
    assert value.dtype == torch.float32 and half.grad.isfinite().all()
    torch.testing.assert_close(value, loss(half.detach().float(), labels), rtol=0, atol=0)


@pytest.mark.parametrize("spec", ALL)
def test_shift_of_all_logits(spec):
    logits, labels = example()
    before, after = make(spec)(logits, labels), make(spec)(logits + 3.7, labels)
    assert torch.isclose(before, after) == (spec not in DEPENDS_ON_SHIFT)


@pytest.mark.parametrize("spec", ALL)
def test_renumbering_the_classes(spec):
    """The frame is ignored, because the NACL code puts class 0 around the image."""
    logits, labels = example()
    order = torch.tensor([2, 0, 3, 1])
    framed = functional.pad(labels[:, 1:-1, 1:-1], (1, 1, 1, 1), value=255)
    renumbered = functional.pad(order.argsort()[labels[:, 1:-1, 1:-1]], (1, 1, 1, 1), value=255)
    before = make(spec, ignore_index=255)(logits, framed)
    after = make(spec, ignore_index=255)(logits[:, order], renumbered)
    assert torch.isclose(before, after) == (spec not in DEPENDS_ON_NUMBERING)


@pytest.mark.parametrize("spec", ALL)
def test_flips_and_turns(spec):
    logits, labels = example()
    expected = make(spec)(logits, labels)
    torch.testing.assert_close(make(spec)(logits.flip(-1), labels.flip(-1)), expected)
    torch.testing.assert_close(make(spec)(logits.rot90(1, (2, 3)), labels.rot90(1, (1, 2))), expected)


@pytest.mark.parametrize("spec", ALL)
def test_ignored_voxels_change_nothing(spec):
    """Neither the logits there, nor which number marks them, be it even one of the classes."""
    logits, labels = example()
    labels[labels == 3] = 0
    labels[:, 4:7, 3:9] = 255
    expected = make(spec, ignore_index=255)(logits, labels)
    other = torch.where(labels[:, None] == 255, 100 * logits.sign(), logits)
    for number in (-1, 3):
        relabelled = torch.where(labels == 255, number, labels)
        torch.testing.assert_close(make(spec, ignore_index=number)(other, relabelled), expected)


@pytest.mark.parametrize("spec", ALL)
def test_nothing_known_costs_nothing(spec):
    logits, labels = example((1, 6, 6), dtype=torch.float32)
    value = make(spec, ignore_index=255)(logits.requires_grad_(), torch.full_like(labels, 255))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@pytest.mark.parametrize("spec", ALL)
def test_modules_can_be_copied_and_moved(spec):
    logits, labels = example()
    loss = copy.deepcopy(make(spec)).to(torch.float64)
    assert loss(logits, labels) == make(spec)(logits, labels)


def best_probability(loss, classes=CLASSES):
    """Best p_y on a homogeneous image of class 0, and the logit gap there; the other logits are 0 by symmetry."""
    labels = torch.zeros(1, 5, 5, dtype=torch.long)
    targets = loss.targets(labels, classes)

    def value(gap):
        logits = torch.zeros(1, classes, 5, 5, dtype=torch.float64)
        logits[:, 0] = gap
        return loss(logits, labels, targets=targets).item()

    gap = minimize_scalar(value, bounds=(0, 25), method="bounded", options={"xatol": 1e-7}).x
    return math.exp(gap) / (math.exp(gap) + classes - 1), gap


@pytest.mark.parametrize(
    ("loss", "probability"),
    [
        (LabelSmoothingLoss(), 0.925),
        (LabelSmoothingLoss(complement=True), 0.9),
        (NACLLoss(), 0.975),
        (MbLSLoss(margin=5), 1 / (1 + 3 * math.exp(-5))),
        (FocalLoss(gamma=0), 1),
        (FocalLoss(), 1),
        (FCLLoss(), 1),
        (DiceCELoss(), 1),
        (SVLSLoss(), 1),
        (SDCLoss(), 1),
        (HardL1ACELoss(), 1),
        (SoftL1ACELoss(), 1),
        (SDCLoss(on="logits"), 1 - 3 / (math.exp(10) + 1)),  # the others' distances, 10, weigh most
    ],
)
def test_known_optimum_inside_a_region(loss, probability):
    found, _ = best_probability(loss)
    assert found == pytest.approx(probability, abs=2e-3 if probability == 1 else 2e-5)


def test_known_optimal_logits():
    assert best_probability(NACLLoss())[1] == pytest.approx(math.log(117), abs=1e-5)  # 4.76: 1 - p_y = alpha / C
    assert best_probability(MbLSLoss(margin=5))[1] == pytest.approx(5, abs=1e-5)
    p, _ = best_probability(ECPLoss())
    entropy_slope = 0.1 * p * (1 - p) * math.log(3 * p / (1 - p))  # dH/dgap times lam equals dCE/dgap = 1 - p
    assert entropy_slope == pytest.approx(1 - p, rel=1e-4)


def test_probability_penalties_leave_the_noiseless_optimum_and_logit_penalties_move_it():
    """At the boundary sigma(-kappa s) is 0.73 inside, yet CE + SDC is still best at p_y = 1; on logits it is not."""
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    labels[..., 3:] = 1

    def best(loss):
        targets = loss.targets(labels, 2)

        def value(gap):
            logits = gap * functional.one_hot(labels, 2).movedim(-1, 1).double()
            return loss(logits, labels, targets=targets).item()

        return minimize_scalar(value, bounds=(0, 30), method="bounded", options={"xatol": 1e-6}).x

    assert best(SDCLoss()) > 15
    assert best(SDCLoss(on="logits", lam=1.0)) < 10


def test_values_by_hand():
    """One voxel with p = (0.7, 0.2, 0.1) and label 0; both neighbourhood and border are the class itself."""
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    logits, labels = p.log().view(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
    ce, entropy = -math.log(0.7), -sum(x * math.log(x) for x in p.tolist())
    dicece = ce + 1 - (1.4 + 1e-5) / (1.7 + 1e-5) / 3 - (1e-5 / (0.2 + 1e-5) + 1e-5 / (0.1 + 1e-5)) / 3
    expected = {
        "fl": 0.3**3 * ce,
        "ecp": ce - 0.1 * entropy,
        "ecp:marginloss": ce - 0.1 * entropy / 3,
        "ls": 0.9 * ce - 0.1 * p.log().mean().item(),
        "ls:complement": 0.9 * ce - 0.05 * math.log(0.2) - 0.05 * math.log(0.1),
        "svls": ce,
        "mbls": ce,
        "fcl": 0.3**3 * ce + 0.1 * (0.09 + 0.04 + 0.01),
        "fcl:sdc_repo": 0.3**3 * ce + 0.1 * (0.09 + 0.04 + 0.01) / 3,
        "nacl": ce + 0.1 * (1 + ce - math.log(0.2) - math.log(0.1)) / 3,
        "nacl:prob": ce + 0.1 * (0.3 + 0.2 + 0.1) / 3,
        "nacl:monai": ce + 0.1 * (1 / 9 + ce - math.log(0.2) - math.log(0.1)) / 3,
        "sdc": ce + 0.1 * 0.6 / 3 + 0.1 * 2 * 0.6 / 3,
        "hard_l1ace": dicece + (0.3 + 0 + 0) / 3,  # classes 1 and 2 are not there
        "soft_l1ace": dicece + (0.3 + 0 + 0) / 3,
        "dicece": dicece,
    }
    for spec, value in expected.items():
        assert build_loss(spec)(logits, labels).item() == pytest.approx(value, rel=1e-6), spec


def test_average_calibration_error_by_hand():
    """Two bins, p of class 1 is .2, .4, .7 and .9, the third voxel is wrong: |.3 - 0| and |.8 - .5| in hard bins."""
    p = torch.tensor([0.2, 0.4, 0.7, 0.9], dtype=torch.float64)
    logits = torch.stack([1 - p, p]).log().view(1, 2, 1, 4)
    labels = torch.tensor([[[0, 0, 0, 1]]])
    hard = build_loss("hard_l1ace", {"bins": 2}).terms(logits, labels)["ace"]
    assert hard.item() == pytest.approx(0.3)
    # Centres .25 and .75: shares of the right bin are 0, .3, .9 and 1.
    left = abs(0.2 + 0.7 * 0.4 + 0.1 * 0.7) / 1.8
    right = abs(0.3 * 0.4 + 0.9 * 0.7 + 0.9 - 1) / 2.2
    soft = build_loss("soft_l1ace", {"bins": 2}).terms(logits, labels)["ace"]
    assert soft.item() == pytest.approx((left + right) / 2)


def test_average_calibration_error_bins_like_the_metric():
    """ACE of `score`, class by class, is what the loss computes for one image that shows every class."""
    logits, labels = example((1, 12, 12))
    protocol = make_protocol("guo", bins=20)
    rows = score_case(logits.softmax(1)[0].numpy(), labels[0].numpy(), metrics=("ACE",), protocol=protocol).rows
    expected = sum(row.value for row in rows if row.class_name != ALL_CLASSES) / CLASSES
    assert build_loss("hard_l1ace").terms(logits, labels)["ace"].item() == pytest.approx(expected, rel=1e-6)


def test_mbls_and_its_released_opposite():
    labels = torch.zeros(1, 1, 1, dtype=torch.long)
    logits = torch.tensor([14.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert MbLSLoss().terms(logits, labels)["margin"].item() == pytest.approx(0.1 * (3 + 4) / 3)
    assert build_loss("mbls:sdc_repo").terms(logits, labels)["margin"] == 0
    assert build_loss("mbls:sdc_repo").terms(0 * logits, labels)["margin"].item() == pytest.approx(10e-3)


def test_morphed_cross_entropy_needs_regions():
    logits, labels = example()
    for morph in ("erosion", "dilation", "opening", "closing"):
        loss = SDCLoss(morph=morph, ce_target="morph")
        assert set(loss.targets(labels, CLASSES)) == {"neighbours", "reference", "sdf"}
        assert loss(logits, labels).isfinite()
    for kind in (SDCLoss, NACLLoss):
        with pytest.raises(UsageError, match="whole regions"):
            kind(morph="gradient", ce_target="morph")


def test_erosion_target_keeps_cross_entropy_away_from_boundaries():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[..., 4:] = 1
    loss = NACLLoss(morph="erosion", ce_target="morph", alpha=0.0)
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    loss(logits, labels).backward()
    touched = logits.grad.abs().sum(dim=(0, 1))[0] > 0
    assert touched.tolist() == [True, True, True, False, False, True, True, True]


def test_label_smoothing_is_torch():
    logits, labels = example()
    theirs = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(build_loss("ls")(logits, labels), theirs)


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("dice", {}, "Unknown loss 'dice'. Known: dicece, fl"),
        ("fl:paper", {}, "no variant 'paper'. Known: none"),
        ("sdc:paper", {}, "no variant 'paper'. Known: logit, l2, authors"),
        ("sdc+sdc:l2", {}, "has 'sdc' twice"),
        ("dicece+", {}, "Unknown loss ''. Known: dicece"),
        ("dicece+0*sdc", {}, "weight in '0\\*sdc' must be a number above 0"),
        ("x*sdc", {}, "weight in 'x\\*sdc' must be a number above 0"),
        ("dicece+fl", {"alpha": 1}, r"no setting 'alpha'. Known: dicece.include_background, .*, fl.gamma"),
        ("dicece+fl", {"fl.eps": 1}, "no setting 'fl.eps'"),
        ("sdc", {"distance": "l3"}, "'l1' or 'l2'"),
        ("fl", {"alpha": 0.2}, "no setting 'alpha'. Known: gamma"),
        ("fl", {"gamma": "high"}, "is a number, not 'high'"),
        ("fl", {"gamma": True}, "is a number, not True"),
        ("fl", {"gamma": -1}, "must be at least 0 and finite, not -1"),
        ("sdc", {"alpha": math.nan}, "must be at least 0 and finite, not nan"),
        ("sdc", {"lam": math.inf}, "must be at least 0 and finite, not inf"),
        ("sdc", {"kappa": 0.0}, "must be above 0 and finite, not 0.0"),
        ("hard_l1ace", {"bins": 2.5}, "whole number of at least 1, not 2.5"),
        ("soft_l1ace", {"bins": 0}, "must be above 0 and finite, not 0"),
        ("svls", {"sigma": 0}, "must be above 0 and finite, not 0"),
        ("dicece", {"batch": "yes"}, "is true or false, not 'yes'"),
        ("nacl", {"distance": "l3"}, "'l1' or 'l2'"),
        ("nacl", {"on": "masks"}, "'logits' or 'probabilities'"),
        ("sdc", {"ce_target": "other"}, "'labels' or 'morph'"),
        ("sdc", {"kernel": "box"}, "Unknown kernel 'box'"),
    ],
)
def test_wrong_settings(spec, settings, message):
    with pytest.raises(UsageError, match=message):
        build_loss(spec, settings)


def test_constructors_refuse_what_cannot_be_computed():
    for build in (lambda: SDCLoss(kappa=0.0), lambda: NACLLoss(kernel="gaussian", sigma=0.0)):
        with pytest.raises(UsageError, match="must be above 0"):
            build()
    logits, labels = example()
    for loss in (LabelSmoothingLoss(alpha=1.1), LabelSmoothingLoss(alpha=0.8, complement=True)):
        with pytest.raises(UsageError, match="alpha must be smaller"):
            loss(logits, labels)


def test_neighbour_kernels_have_the_published_width():
    """The margin variant of SVLS has the Gaussian of SVLS itself."""
    _, labels = example()
    margin, smoothing = (build_loss(spec).targets(labels, CLASSES)["neighbours"] for spec in ("svls:margin", "svls"))
    torch.testing.assert_close(margin, smoothing, rtol=0, atol=0)
    wide, narrow = (NACLLoss(kernel="gaussian", sigma=sigma).targets(labels, CLASSES) for sigma in (3.0, 0.5))
    assert not torch.equal(wide["neighbours"], narrow["neighbours"])


def test_a_sum_is_the_weighted_sum_of_its_parts():
    logits, labels = example()
    loss = build_loss("dicece + 0.5*sdc:logit+ls", {"sdc.alpha": 0.3, "ls.alpha": 0.2, "lambda": 0.4})
    parts = {
        "dicece": (1.0, build_loss("dicece")),
        "sdc": (0.5, build_loss("sdc:logit", {"alpha": 0.3, "lam": 0.4})),
        "ls": (1.0, build_loss("ls", {"alpha": 0.2})),
    }
    expected = {
        f"{name}_{key}": weight * value
        for name, (weight, part) in parts.items()
        for key, value in part.terms(logits, labels).items()
    }
    terms = loss.terms(logits, labels)
    assert list(terms) == ["dicece_ce", "dicece_dice", "sdc_ce", "sdc_neighbours", "sdc_sdf", "ls_ce"]
    for key, value in expected.items():
        torch.testing.assert_close(terms[key], value, rtol=0, atol=0)
    assert set(loss.targets(labels, CLASSES)) == {"sdc.neighbours", "sdc.sdf"}
    shared = build_loss("nacl+sdc", {"kernel": "gaussian"})
    assert isinstance(shared, SumLoss)
    assert [vars(part)["neighbours"].kernel for _, part in shared.parts.values()] == ["gaussian"] * 2
    assert isinstance(build_loss("1*sdc", {"sdc.alpha": 0.2}), SDCLoss)


def test_sdc_with_squares():
    """On probabilities, 2 (p - sigma) squared: at p = 1/2 all over, with one class, (1/2)^2 + (2 / 2)^2."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    terms = build_loss("sdc:l2", {"alpha": 1.0, "lam": 1.0}).terms(torch.zeros(1, 2, 4, 4), labels)
    assert (terms["neighbours"].item(), terms["sdf"].item()) == pytest.approx((0.25, 1.0))


def test_lambda_is_a_setting_by_its_name():
    assert build_loss("sdc", {"lambda": 0.3}).lam == 0.3


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 3, 8, 8), (2, 3, 8, 8), "rather than one-hot"),
        ((2, 3, 8, 8), (2, 8, 9), "do not fit"),
        ((2, 1, 8, 8), (2, 8, 8), "at least 2 classes"),
        ((2, 3, 8), (2, 8), "2 or 3 spatial axes"),
    ],
)
def test_wrong_shapes(logits, labels, message):
    with pytest.raises(UsageError, match=message):
        FocalLoss()(torch.zeros(logits), torch.zeros(labels))


@pytest.mark.parametrize("label", [4, 255, -1])
def test_labels_outside_the_classes(label):
    logits, labels = example()
    labels[0, 0, 0] = label
    with pytest.raises(UsageError, match=rf"found \[{label}\], but the logits have 4 classes"):
        SDCLoss()(logits, labels)
