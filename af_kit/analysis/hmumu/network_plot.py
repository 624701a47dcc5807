"""Figures of a training: losses, ROC curves, importance of the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_importance", "draw_losses", "draw_roc", "plot_training"]

# Distinguishable with any colour vision; one for each fold.
_COLOURS = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6")


def plot_training(
    about: Mapping[str, Any], folder: str | Path, *, metadata: Mapping[str, Any] | None = None
) -> list[Path]:
    """Draw ``training``, ``roc`` and ``importance`` into a folder, each as PNG and as PDF.

    Parameters
    ----------
    about
        The content of ``network.json``.
    metadata
        For the line above the axes; by default "Simulation".
    """
    return style.save_all(_figures(about, metadata or {"label": "Simulation"}), folder)


def _figures(about: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    yield "training", draw_losses(about, metadata=metadata)
    yield "roc", draw_roc(about, metadata=metadata)
    yield "importance", draw_importance(about, metadata=metadata)


def draw_losses(about: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> Figure:
    """Draw the loss of each fold's training and validation sample by epoch; a dot is the epoch whose weights count."""
    figure, axes = style.subplots(metadata=metadata)
    for fold, colour in zip(about["folds"], _COLOURS, strict=False):
        epochs, best = np.arange(1, len(fold["loss"]) + 1), fold["best_epoch"]
        axes.plot(epochs, fold["loss"], color=colour, linestyle=":")
        axes.plot(epochs, fold["validation_loss"], color=colour, label=f"fold {fold['fold']}")
        axes.plot(epochs[best], fold["validation_loss"][best], "o", color=colour)
    axes.plot([], [], color="0.3", label="validation")
    axes.plot([], [], color="0.3", linestyle=":", label="training")
    low, high = axes.get_ylim()
    axes.set(xlabel="Epoch", ylabel="Cross-entropy", xlim=(0, None), ylim=(low, high + 0.25 * (high - low)))
    axes.legend(loc="upper right", ncols=2, fontsize="small")
    style.place_axes(figure)
    return figure


def draw_roc(about: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> Figure:
    """Draw the ROC curve of each fold, for the events that its network has not seen."""
    figure, axes = style.subplots(size=(10, 9), metadata=metadata)
    for fold, colour in zip(about["folds"], _COLOURS, strict=False):
        label = f"fold {fold['fold']}: AUC {fold['auc']['unseen']:.3f} (training {fold['auc']['training']:.3f})"
        axes.plot(fold["roc"]["signal"], fold["roc"]["background"], color=colour, label=label)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="no separation")
    axes.set(xlabel="Efficiency of the signal", ylabel="Efficiency of the background", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left", fontsize="small", title=f"events not seen in the training: AUC {about['auc']:.3f}")
    style.place_axes(figure)
    return figure


def draw_importance(about: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None) -> Figure:
    """Draw by how much the AUC of unseen events falls when one variable is permuted among the events.

    The error is from the differences between the folds. A variable without importance is at 0 within it.
    """
    importance = about["importance"]
    figure, axes = style.subplots(size=(11, 11), metadata=metadata)
    positions = np.arange(len(importance))[::-1]
    lost, errors = ([one[key] for one in importance.values()] for key in ("auc_lost", "error"))
    axes.barh(positions, lost, xerr=errors, color=_COLOURS[0], error_kw={"elinewidth": 1.5})
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(positions, list(importance), fontsize="x-small")
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.set(xlabel="AUC lost without the variable")
    style.place_axes(figure)
    return figure
