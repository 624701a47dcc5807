"""Scale and PDF variations from each event's own weights."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections.lhe import PDFSet, scales
from af_kit.errors import InputError


def numbered(entries: int, events: int = 2) -> ak.Array:
    """Weights that tell their position: entry i of event e is (e + 1) (i + 1), NanoAOD's float32."""
    return ak.from_regular(np.outer(np.arange(1, events + 1), np.arange(1, entries + 1)).astype(np.float32))


def test_nine_entries_are_relative_to_the_fifth() -> None:
    found = scales(numbered(9))
    assert found.nominal.tolist() == [1, 1]
    assert found.variations["lhe_ren"].down.tolist() == pytest.approx([2 / 5, 2 / 5])
    assert found.variations["lhe_ren"].up.tolist() == pytest.approx([8 / 5, 8 / 5])
    assert found.variations["lhe_fac"].down.tolist() == pytest.approx([4 / 5, 4 / 5])
    assert found.variations["lhe_fac"].up.tolist() == pytest.approx([6 / 5, 6 / 5])


@pytest.mark.parametrize(("entries", "ren", "fac"), [(8, (2, 7), (4, 5)), (44, (6, 35), (16, 25))])
def test_eight_and_44_entries_are_relative_already(entries: int, ren: tuple, fac: tuple) -> None:
    found = scales(numbered(entries))
    for source, (down, up) in (("lhe_ren", ren), ("lhe_fac", fac)):
        assert found.variations[source].down.tolist() == [down, 2 * down]
        assert found.variations[source].up.tolist() == [up, 2 * up]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (numbered(7), "7 entries per event. The kit knows the order of 9, 8 and 44"),
        (ak.Array([[1.0] * 9, [1.0] * 8]), "8 to 9 entries per event"),
        (ak.Array([[1.0] * 8 + [np.nan]]), "the weight is nan"),
        (ak.Array([[0.0] * 9]), "nominal weight is 0 for 1 of 1"),
    ],
)
def test_bad_scale_weights_are_refused(weights: ak.Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scales(weights)


def test_a_chunk_without_events() -> None:
    assert len(scales(numbered(9)[:0]).variations["lhe_fac"].up) == 0
    assert len(PDFSet("hessian", 30).weight(numbered(31)[:0]).variations["pdf"].up) == 0


def test_hessian_members_are_added_in_quadrature_around_the_central_one() -> None:
    weights = ak.Array([[0.9, 0.93, 0.86, 0.9, 0.95], [1.0, 1.0, 1.0, 1.0, 1.0]])
    found = PDFSet("hessian", 2, has_alpha_s=True).weight(weights)
    assert found.variations["pdf"].up.tolist() == pytest.approx([1.05, 1.0])
    assert found.variations["pdf"].down.tolist() == pytest.approx([0.95, 1.0])
    assert found.variations["alpha_s"].up.tolist() == pytest.approx([1.025, 1.0])
    assert found.variations["alpha_s"].down.tolist() == pytest.approx([0.975, 1.0])


def test_replicas_have_a_standard_deviation() -> None:
    found = PDFSet("replicas", 3).weight(ak.Array([[5.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.2, 1.4]]))
    assert found.variations["pdf"].up.tolist() == pytest.approx([2.0, 1.2])
    assert found.variations["pdf"].down.tolist() == pytest.approx([0.0, 0.8])
    assert set(found.variations) == {"pdf"}


def test_a_set_without_its_central_member() -> None:
    found = PDFSet("hessian", 2, has_central=False).weight(ak.Array([[1.03, 0.96]]))
    assert found.variations["pdf"].up.tolist() == pytest.approx([1.05])


def test_each_event_has_the_variation_of_its_own_weights() -> None:
    draw = np.random.default_rng(1).normal(1, 0.1, (5, 31))
    whole = PDFSet("hessian", 30).weight(ak.from_regular(draw)).variations["pdf"].up
    assert len(set(whole)) == 5
    one_by_one = [PDFSet("hessian", 30).weight(draw[i : i + 1]).variations["pdf"].up[0] for i in range(5)]
    np.testing.assert_allclose(whole, one_by_one, rtol=1e-14)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ("91400 - 91432", PDFSet("hessian", 30, has_alpha_s=True)),
        ("91400 - 91430", PDFSet("hessian", 30)),
        ("262000 - 262100", PDFSet("replicas", 100)),
        ("260001 - 260100", PDFSet("replicas", 100, has_central=False)),
        ("306000 - 306102", PDFSet("hessian", 100, has_alpha_s=True)),
        ("325500 - 325600", PDFSet("hessian", 100)),
    ],
)
def test_the_set_is_in_the_title(ids: str, expected: PDFSet) -> None:
    assert PDFSet.from_title(f"LHE pdf variation weights (w_var / w_nominal) for LHA IDs {ids}") == expected


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("", "names no LHA ids"),
        ("LHA IDs 10042 - 10042", "10042 to 10042 are not known to the kit"),
        ("LHA IDs 91400 - 91420", "not all members of the set 91400"),
        ("LHA IDs 262000 - 262102", "not all members of the set 262000"),
    ],
)
def test_unknown_sets_are_refused(title: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PDFSet.from_title(title)


def test_a_number_of_weights_that_contradicts_the_set_is_refused() -> None:
    with pytest.raises(InputError, match="33 entries per event, and the set of its title 31"):
        PDFSet("hessian", 30).weight(numbered(33))
    with pytest.raises(InputError, match="'hessian' or 'replicas'"):
        PDFSet("Hessian", 30)


def test_the_weights_of_the_real_file(nano_dy) -> None:
    branch = nano_dy["LHEPdfWeight"]
    weights = branch.array(library="ak")
    found = PDFSet.from_title(branch.title).weight(weights)
    third = np.asarray(weights[2], dtype=float)
    assert found.variations["pdf"].up[2] == pytest.approx(1 + np.sqrt(((third[1:31] - third[0]) ** 2).sum()))
    assert found.variations["alpha_s"].up[2] == pytest.approx(1 + (third[32] - third[31]) / 2)
    scale = nano_dy["LHEScaleWeight"].array(library="ak")
    varied = scales(scale).variations
    assert varied["lhe_ren"].up[2] == pytest.approx(scale[2, 7] / scale[2, 4])
    assert varied["lhe_fac"].down[2] == pytest.approx(scale[2, 3] / scale[2, 4])
