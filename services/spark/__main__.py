"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.spark.cluster import Spark


def start(given: Namespace) -> None:
    """Start the cluster if it is not running, and print how to use it."""
    spark: Spark = given.service.start()
    print(f"master   {spark.master}\n\nFor a session:")
    for name, value in spark.environment().items():
        print(f"export {name}={value}")
    settings = "".join(f'.config("{name}", "{value}")' for name, value in spark.settings().items())
    print(f'\nSparkSession.builder.master("{spark.master}"){settings}.getOrCreate()')


if __name__ == "__main__":
    commands = Commands("spark", Spark)
    commands.add(start)
    commands.run()
