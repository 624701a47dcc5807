"""Generator jets of jets; how a match decides between scaling and smearing is in test_jet_resolution.py."""

from __future__ import annotations

import awkward as ak

from af_kit.corrections.jet_matching import generator_jet


def test_generator_jets_are_looked_up_event_by_event() -> None:
    gen = ak.zip({"pt": [[50.0, 30.0], [40.0], []], "eta": [[1.0, 2.0], [3.0], []], "phi": [[0.1, 0.2], [0.3], []]})
    index = ak.Array([[1, -1, 0], [0, 1], [0]])  # the file stores generator jets above a threshold only
    found = generator_jet(index, gen)
    assert found.pt.tolist() == [[30, 0, 50], [40, 0], [0]]
    assert found.eta.tolist() == [[2, 0, 1], [3, 0], [0]]
    assert found.phi.tolist() == [[0.2, 0, 0.1], [0.3, 0], [0]]
    none = generator_jet(index[:0], gen[:0])
    assert none.pt.tolist() == []
