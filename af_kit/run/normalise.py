"""Scale simulation to a luminosity after the merge: cross-section times luminosity over the sum of weights.

The sum of generator weights is only known when every chunk has been processed. So the function returns its histograms
with the plain weights, together with the sum of weights, and the result is scaled at the end::

    def analyse(events):
        weight = np.asarray(events.genWeight, dtype="f8")  # of one chunk: no normalisation here
        muons = ak.num(events.Muon)
        return {
            events.metadata["dataset"]: {
                "sumw": weight.sum(),
                "muons": Hist.new.Reg(10, 0, 10, name="n").Weight().fill(muons, weight=weight),
            }
        }

    result = af.process(analyse, fileset, client)      # the fileset's metadata: xsec_pb (and lumi_ifb)
    scaled = scale_to_lumi(result, fileset, lumi_ifb=59.8, data=["SingleMuon"])
    scaled["DYJets"]["muons"]                          # expected events in 59.8 / fb
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from af_kit.errors import InputError, nearest

__all__ = ["lumi_factors", "scale_to_lumi"]

_FB_PER_PB = 1000.0


def scale_to_lumi(
    result: Mapping[str, Mapping[str, Any]],
    fileset: Mapping[str, Any],
    *,
    lumi_ifb: float | None = None,
    sumw: str = "sumw",
    data: Iterable[str] = (),
) -> dict[str, dict[str, Any]]:
    """Scale the result of each dataset to the number of events that is expected in the data.

    Parameters
    ----------
    result : mapping
        The result of `process`: for each dataset a mapping of histograms and numbers, including the sum of weights. It
        is not changed.
    fileset : Fileset
        The metadata of its datasets hold ``xsec_pb``, the cross-section in pb (with branching ratio and filter
        efficiency), and ``lumi_ifb``, if no luminosity is given here.
    lumi_ifb : float, optional
        Integrated luminosity in 1/fb.
    sumw : str
        The key of the sum of weights.
    data : iterable of str
        Datasets of recorded data, which are not scaled.

    Returns
    -------
    dict
        Like ``result``. Histograms and numbers are scaled, in nested mappings too; a histogram of counts becomes one of
        weights, with the correct variances. The sum of weights, profiles (Mean), text, arrays and tables stay as they
        are: for rows, multiply their weights by `lumi_factors`.

    Raises
    ------
    InputError
        A cross-section, a luminosity or a sum of weights is missing or not a positive number, or the keys of the
        result are not datasets. Or a histogram of Double storage has weights, whose squares it does not store.

    Examples
    --------
    >>> import af_kit as af
    >>> fileset = af.load_fileset({"DY": {"files": ["dy.root"], "metadata": {"xsec_pb": 2.0}}})
    >>> result = {"DY": {"sumw": 1000.0, "selected": 100.0}}
    >>> af.scale_to_lumi(result, fileset, lumi_ifb=10.0)["DY"]["selected"]
    2000.0
    """
    recorded = set(data)
    factors = lumi_factors(result, fileset, lumi_ifb=lumi_ifb, sumw=sumw, data=recorded)
    return {
        name: {
            key: item if name in recorded or key == sumw else _scaled(item, factors[name], f"result[{name!r}][{key!r}]")
            for key, item in own.items()
        }
        for name, own in result.items()
    }


def lumi_factors(
    result: Mapping[str, Mapping[str, Any]],
    fileset: Mapping[str, Any],
    *,
    lumi_ifb: float | None = None,
    sumw: str = "sumw",
    data: Iterable[str] = (),
) -> dict[str, float]:
    """Return the expected events per unit of weight for each dataset: ``xsec_pb * 1000 * lumi_ifb / sumw``, 1 for data.

    Parameters and errors are those of `scale_to_lumi`.
    """
    recorded = set(data)
    for name in recorded - set(result):
        raise InputError(f"data: the result has no dataset {name!r}.{nearest(name, map(str, result))}")
    return {
        name: 1.0 if name in recorded else _factor(name, result, _metadata(name, fileset), lumi_ifb, sumw)
        for name in result
    }


def _metadata(name: str, fileset: Mapping[str, Any]) -> Mapping[str, Any]:
    if name not in fileset:
        raise InputError(
            f"The result has {name!r}, which is not a dataset of the fileset.{nearest(str(name), fileset)} Return "
            '{events.metadata["dataset"]: {...}} from the function, to keep the datasets separate.'
        )
    dataset = fileset[name]
    metadata = dataset.get("metadata") if isinstance(dataset, Mapping) else dataset.metadata
    return metadata or {}


def _factor(
    name: str, result: Mapping[str, Any], metadata: Mapping[str, Any], lumi_ifb: float | None, sumw: str
) -> float:
    xsec = _positive(
        metadata.get("xsec_pb"),
        f"The metadata of dataset {name!r} need xsec_pb, its cross-section in pb. (Recorded data: data=[{name!r}].)",
    )
    lumi = _positive(
        metadata.get("lumi_ifb") if lumi_ifb is None else lumi_ifb,
        f"Dataset {name!r} needs a luminosity in 1/fb: lumi_ifb=..., or lumi_ifb in its metadata.",
    )
    own = result[name]
    if not isinstance(own, Mapping) or sumw not in own:
        near = nearest(sumw, map(str, own)) if isinstance(own, Mapping) else ""
        raise InputError(
            f"result[{name!r}] has no {sumw!r}, the sum of weights of all its events.{near} Return it from the "
            "function next to the histograms, summed before any selection."
        )
    total = _positive(own[sumw], f"result[{name!r}][{sumw!r}], the sum of weights, must be a positive number.")
    return xsec * _FB_PER_PB * lumi / total


def _positive(value: Any, sentence: str) -> float:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise InputError(f"{sentence} It is {'missing' if value is None else repr(value)}.")
    return float(value)


def _scaled(item: Any, factor: float, where: str) -> Any:
    if isinstance(item, Mapping):
        return {key: _scaled(inner, factor, f"{where}[{key!r}]") for key, inner in item.items()}
    if isinstance(item, numbers.Number) and not isinstance(item, bool):
        return item * factor  # type: ignore[operator]
    storage = getattr(item, "storage_type", None)
    return item if storage is None else _scaled_histogram(item, storage.__name__, factor, where)


def _scaled_histogram(histogram: Any, storage: str, factor: float, where: str) -> Any:
    import hist

    if storage == "Mean":
        return histogram
    if storage in ("Int64", "AtomicInt64", "Double", "Unlimited"):
        counts = histogram.values(flow=True)
        is_whole = np.array_equal(counts, np.rint(counts))
        if storage in ("Double", "Unlimited") and not (histogram.variances() is not None and is_whole):
            raise InputError(
                f"{where} has {storage} storage, which stores no squared weights: its bins may be sums of weights, "
                "and their errors are unknown. Use .Weight() storage, or .Int64() if there are no weights."
            )
        scaled = hist.Hist(*histogram.axes, storage=hist.storage.Weight(), name=histogram.name, label=histogram.label)
        view = scaled.view(flow=True)
        view.value, view.variance = counts * factor, counts * factor**2
        return scaled
    if storage == "WeightedMean":
        scaled = histogram.copy()
        view = scaled.view(flow=True)
        view.sum_of_weights *= factor
        view.sum_of_weights_squared *= factor**2
        view._sum_of_weighted_deltas_squared *= factor
        return scaled
    return histogram * factor
