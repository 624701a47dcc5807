"""``af-kit train``: train the network of an analysis on the results of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.cli.console import emit_json, say, whole_number
from af_kit.cli.exit_codes import epilog

_EPILOG = """\
examples:
  af-kit train hmumu results --out network
  af-kit train hmumu results2016 results2017 results2018 --out network
  af-kit run hmumu samples/fileset.yaml --network network --variations all --out scored

It writes a network for each of four folds (fold0.onnx to fold3.onnx), network.json (inputs, losses, AUC) and plots/. It
needs keras and onnx: pip install "af-kit[train]". To score events with the network, the kit's environment is enough.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a network on the simulated events that a run has selected",
        description="Train a network on the simulated events that a run has selected.",
        epilog=_EPILOG + epilog("train"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("analysis", choices=("hmumu",), help="hmumu: signal of H -> mu mu against its background")
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="DIR", help="output folders of af-kit run, one for each year"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="NETWORK", help="output folder; created if needed")
    parser.add_argument(
        "--channels",
        type=lambda text: text.split(","),
        default=["vbf"],
        metavar="NAME,...",
        help="channels to train on, with two jets: vbf (default), or vbf,ggh_2jets if there are few events",
    )
    least = whole_number(least=1)
    parser.add_argument(
        "--epochs", type=least, default=100, metavar="N", help="largest number of epochs (default: 100)"
    )
    parser.add_argument("--batch-size", type=least, default=4096, metavar="N", help="events per step (default: 4096)")
    parser.add_argument("--seed", type=whole_number(least=0), default=1, metavar="S", help="random seed (default: 1)")
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="do not draw figures")
    parser.set_defaults(command=train, has_json=True)


def train(arguments: argparse.Namespace) -> int:
    """Train, write the network, and say how well it separates."""
    from af_kit.analysis.hmumu.network import train as train_network
    from af_kit.cli.run import check_writable

    check_writable(arguments.out)
    training = train_network(
        arguments.results,
        channels=arguments.channels,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    files = training.write(arguments.out, plots=arguments.plots)
    about = training.about
    for fold in about["folds"]:
        say(
            f"fold {fold['fold']}: {fold['events']['training']:,} events, best epoch {fold['best_epoch'] + 1} of "
            f"{len(fold['loss'])}, AUC {fold['auc']['unseen']:.3f} (training sample {fold['auc']['training']:.3f})"
        )
    say(f"AUC of events that their network has not seen: {about['auc']:.3f}")
    for file in files:
        say(f"  {file}")
    emit_json(
        {
            "out": arguments.out,
            "outputs": [file.relative_to(arguments.out) for file in files],
            "auc": about["auc"],
            "folds": [
                {key: fold[key] for key in ("fold", "events", "best_epoch")}
                | {"epochs": len(fold["loss"]), "auc": {part: fold["auc"][part] for part in ("training", "unseen")}}
                for fold in about["folds"]
            ],
        }
    )
    say(f"next: af-kit run hmumu FILESET --network {arguments.out} --variations all --out DIR")
    return 0
