"""Concatenate columns and tables: the part of the merge algebra for numpy, awkward, pandas and Arrow.

The type of an empty part is ignored: ``np.array([])`` for "nothing selected" holds floats, and would turn the event
numbers of all other chunks into floats. Parts are refused if joining their types would change values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from af_kit.errors import MergeError

__all__ = ["arrays", "detach", "rule"]


def rule(value: Any) -> Callable[[Sequence[Any], str], Any] | None:
    """Return how columns of this library are joined, without importing the library; None for other values."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}
    if "awkward.Array" in names:
        return _awkward
    if names & {"pandas.DataFrame", "pandas.Series"}:
        return _pandas
    return _arrow if "pyarrow.Table" in names else None


def detach(value: Any) -> Any:
    """Return a compact copy of an awkward array, without its file; widen the dictionaries of an Arrow table."""
    known = rule(value)
    if known is _awkward:
        import awkward as ak

        return ak.to_packed(ak.materialize(value))
    return _with_wide_dictionaries(value) if known is _arrow else value


def arrays(values: Sequence[np.ndarray], where: str) -> np.ndarray:
    """Concatenate numpy arrays along the first axis; masks and vectors stay what they are."""
    values = [value for value in values if len(value)] or values[:1]
    _same_type([{"the array": value.dtype} for value in values], where)
    if any(isinstance(value, np.ma.MaskedArray) for value in values):
        joined: np.ndarray = np.ma.concatenate(values)
        return joined
    if all(value.dtype.kind in "mM" for value in values):
        joint = np.result_type(*(value.dtype for value in values))
        for value in values:
            if value.dtype != joint and not _survives(value, joint):
                raise _differing({value.dtype, joint}, "the array", where)
    plain = np.concatenate([value.view(np.ndarray) for value in values])
    return plain if type(values[0]) is np.ndarray else plain.view(type(values[0]))


def _awkward(values: Sequence[Any], where: str) -> Any:
    import awkward as ak

    filled = [value for value in values if len(value)]
    _same_type([dict(_leaves(value.layout.form)) for value in filled], where)
    joined = ak.concatenate(filled or list(values))
    if filled and _has_union(joined.layout.form) and not any(_has_union(value.layout.form) for value in filled):
        kinds = " and ".join(sorted({str(value.type.content) for value in filled})[:2])
        raise MergeError(
            f"{where} has entries of different types in different chunks: {kinds}. Return the same fields."
        )
    return ak.to_packed(joined)


def _pandas(values: Sequence[Any], where: str) -> Any:
    import pandas as pd

    filled = [value for value in values if len(value)] or list(values[:1])
    if isinstance(filled[0], pd.DataFrame):
        _same_names([list(value.columns) for value in filled], where)
        _same_type([_types(value) for value in filled], where)
        filled = _with_one_set_of_categories(filled)
    else:
        _same_type([_types(value) for value in filled], where)
    # An integer index without a name is the row's number in its chunk, which depends on where the chunks are cut.
    counted = all(
        value.index.nlevels == 1 and value.index.name is None and pd.api.types.is_integer_dtype(value.index.dtype)
        for value in filled
    )
    if not counted:
        _same_type([_types_of_index(value.index) for value in filled], where)
    _times_survive(filled, where)
    return pd.concat(filled, ignore_index=counted)


def _types(table: Any) -> dict[Any, Any]:
    return dict(table.dtypes) if hasattr(table, "columns") else {"the series": table.dtype}


def _types_of_index(index: Any) -> dict[str, Any]:
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    return {f"the index {level.name!r}": level.dtype for level in levels}


def _times_survive(parts: Sequence[Any], where: str) -> None:
    """Refuse times that their joined unit cannot hold."""
    for name in _types(parts[0]):
        columns = [part[name] if hasattr(part, "columns") else part for part in parts]
        kinds = {column.dtype for column in columns}
        plain = {_numpy(kind) for kind in kinds}
        if len(plain) < 2 or any(kind is None or kind.kind not in "mM" for kind in plain):
            continue
        joined = np.result_type(*plain)
        if not all(_survives(column.to_numpy(_numpy(column.dtype)), joined) for column in columns):
            raise _differing(kinds, name, where)


def _with_one_set_of_categories(frames: list[Any]) -> list[Any]:
    import pandas as pd

    for name in frames[0].columns:
        kinds = [frame[name].dtype for frame in frames]
        if all(isinstance(kind, pd.CategoricalDtype) for kind in kinds) and len(set(kinds)) > 1:
            categories = list(dict.fromkeys(category for kind in kinds for category in kind.categories))
            frames = [frame.assign(**{name: frame[name].cat.set_categories(categories)}) for frame in frames]
    return frames


def _arrow(values: Sequence[Any], where: str) -> Any:
    import pyarrow as pa

    filled = [value for value in values if value.num_rows] or list(values[:1])
    _same_names([value.column_names for value in filled], where)
    # Dictionaries (of file names, for example) differ from chunk to chunk; unified, a row stays one small integer.
    return pa.concat_tables(filled, promote_options="default").unify_dictionaries()


def _with_wide_dictionaries(table: Any) -> Any:
    """Return the table with 32-bit dictionaries: those of pandas have 8 bits, too few for the files of a dataset."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.dictionary(pa.int32(), field.type.value_type, field.type.ordered))
        if pa.types.is_dictionary(field.type) and field.type.index_type.bit_width < 32
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def _same_names(columns: Sequence[Sequence[Any]], where: str) -> None:
    for names in columns[1:]:
        if set(names) != set(columns[0]):
            differing = sorted(map(str, set(names) ^ set(columns[0])))
            raise MergeError(
                f"{where}: column {differing[0]!r} exists in some chunks only. Return the same columns for every "
                "chunk, filled with a default value if necessary."
            )


def _same_type(parts: Sequence[Mapping[Any, Any]], where: str) -> None:
    """Refuse types that cannot be joined without loss, such as integers and floats."""
    for name in dict.fromkeys(name for part in parts for name in part):
        kinds = list(dict.fromkeys(part[name] for part in parts if name in part))
        for i, kind in enumerate(kinds):
            for other in kinds[:i]:
                if not _joins(kind, other):
                    raise _differing([kind, other], name, where)
        numeric = [plain for kind in kinds if (plain := _numpy(kind)) is not None and plain.kind in "iu"]
        if len(numeric) > 2 and np.result_type(*numeric).kind == "f":
            raise _differing(kinds, name, where)


def _differing(kinds: Iterable[Any], name: Any, where: str) -> MergeError:
    shown = " and ".join(sorted(map(_shown, kinds))[:2])
    return MergeError(
        f"{where}: {name if isinstance(name, str) else repr(name)} has the types {shown} in different chunks. "
        "Convert it to one type in the function, for example with astype(...)."
    )


def _shown(kind: Any) -> str:
    if hasattr(kind, "categories"):
        order = " in an order" if getattr(kind, "ordered", False) else ""
        return f"category of {kind.categories.dtype}{order} ({', '.join(map(repr, kind.categories[:3]))})"
    return str(kind)


def _joins(kind: Any, other: Any) -> bool:
    """Whether all values of both types stay what they are in the type that numpy or pandas joins them to."""
    categories = [getattr(each, "categories", None) for each in (kind, other)]
    if categories[0] is not None and categories[1] is not None:
        if kind.ordered or other.ordered:
            return bool(kind == other)
        return _joins(categories[0].dtype, categories[1].dtype)
    if categories[0] is not None or categories[1] is not None:
        types = [each.dtype if each is not None else one for each, one in zip(categories, (kind, other), strict=True)]
        return _joins(*types)
    if kind == other:
        return True
    if np.dtype(object) in (kind, other):
        return True  # an object stays the same object
    a, b = _numpy(kind), _numpy(other)
    if a is None or b is None:
        return _is_text(kind) and _is_text(other)
    if a.names is not None or b.names is not None:
        return a.names == b.names and all(_joins(a[name], b[name]) for name in a.names or ())
    if a.subdtype is not None or b.subdtype is not None:
        return a.shape == b.shape and _joins(a.base, b.base)
    if getattr(kind, "tz", None) != getattr(other, "tz", None):
        return False
    if a.kind in "iu" and b.kind in "iu":
        return np.result_type(a, b).kind in "iu"
    return a.kind == b.kind or {a.kind, b.kind} == {"U", "T"}


def _numpy(kind: Any) -> np.dtype | None:
    """The numpy type of the values of a type; None if there is none, as for text of pandas."""
    if isinstance(kind, np.dtype):
        return kind
    if getattr(kind, "tz", None) is not None and hasattr(kind, "unit"):
        return np.dtype(f"M8[{kind.unit}]")
    if _is_text(kind):
        return None
    plain = getattr(kind, "numpy_dtype", None)
    return plain if isinstance(plain, np.dtype) and plain.kind != "O" else None


def _is_text(kind: Any) -> bool:
    """Whether this is a type of text, or an object, which may be one."""
    plain = kind if isinstance(kind, np.dtype) else None
    named = str(kind).partition("[")[0] in ("string", "str", "large_string")
    return named or (plain is not None and plain.kind in "OUT")


def _survives(times: np.ndarray, joined: np.dtype) -> bool:
    """Whether times are the same in another unit."""
    try:
        there = times.astype(joined)
    except OverflowError:  # from numpy 2.5 on; older ones wrap around
        return False
    return bool(np.array_equal(there.astype(times.dtype), times, equal_nan=True)) and bool(
        np.array_equal(np.isnat(there), np.isnat(times))
    )


def _leaves(form: Any, path: str = "the array") -> Iterator[tuple[str, np.dtype]]:
    """Yield the number types in an awkward form, each with the path of fields to it."""
    if form.is_record:
        for name, inner in zip(form.fields, form.contents, strict=True):
            yield from _leaves(inner, f"{path}.{name}")
    elif form.is_numpy:
        yield path, np.dtype(form.primitive)
    elif form.is_union:
        for inner in form.contents:  # its numbers are joined with numbers, its booleans are kept apart
            for name, kind in _leaves(inner, path):
                yield f"{name}{' (of type bool)' if kind.kind == 'b' else ''}", kind
    elif hasattr(form, "content"):
        yield from _leaves(form.content, path + ("[...]" if form.is_list else ""))


def _has_union(form: Any) -> bool:
    if form.is_union:
        return True
    inner = form.contents if form.is_record else [form.content] if hasattr(form, "content") else []
    return any(_has_union(part) for part in inner)
