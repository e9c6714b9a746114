"""`mili run` and the stages that it is made of, each with the flags that it takes."""

from __future__ import annotations

import argparse

from mili_jax.command import configurations
from mili_jax.command.parser import Parser, whole, workdir
from mili_jax.pipeline import console

_ALL = """
Algorithm 1, from demonstrations to report: demos, pretrain, baselines, then for every round
collect, filter, pair, retrain and evaluate, and last the report. It prints the path of the page.

It takes a configuration and a folder. What is done there is not done again: the same command goes
on where it was stopped, by ctrl-C, a kill or a full disk, and comes to the same numbers."""
_TEXTS = {
    "run": _ALL,
    "demos": """
The scripted expert demonstrates the tasks of all three splits. Of a domain without a simulator the
demonstrations are yours: `mili import` brings them.""",
    "pretrain": """
Trains one-shot imitation and the latent space of tasks on the demonstrations.""",
    "baselines": """
Trains what the loop is compared with, behaviour cloning and MIL: those that
config.baselines.methods names. Where it names none there is nothing to do.""",
    "collect": """
The latest policy tries config.improve.trials times, each time after a demonstration.""",
    "filter": """
The automatic filter F answers for every trial of the round that nobody has answered for yet: was it
useful? Answers that people gave are never overruled.""",
    "pair": """
Useful trials of the round that lie close in the latent space become pairs: new tasks.""",
    "retrain": """
Trains on the demonstrations and the pairs of all rounds so far, once for each arm in
config.improve.arms.""",
    "evaluate": """
Measures one-shot success on tasks that nobody has demonstrated in training. Round 0 is what was
trained on demonstrations alone. Evaluating on the other split, with
--config.evaluate.split=validation, replaces the first one's rows.""",
    "report": """
Writes report/index.html from what the other stages left, and prints its path.""",
}
_AGAIN = """
What it is made from must be there, and it is skipped if it is done. After new answers or other
parameters it is made again."""


def add_arguments(parser: Parser) -> None:
    """The flags of the stage that `parser.command` names."""
    stage = console.STAGES[parser.command]
    text = _TEXTS[parser.command].strip()
    if parser.command == "run":
        text = f"{text}\n\nConfigurations\n{configurations.listed()}"
    elif parser.command != "report":
        text = f"{text}\n{_AGAIN}"
    parser.description = text
    parser.usage = f"mili {parser.command} --config=NAME --workdir=DIR"
    parser.add_workdir()
    parser.add_config("A folder in which a run has begun needs none: its manifest has it")
    if stage.first_round is not None:
        parser.usage += f" --round={stage.first_round}"
        parser.add_argument(
            "--round",
            type=whole(stage.first_round),
            default=stage.first_round,
            metavar="N",
            help=f"round of improvement; {stage.first_round} if it is not given",
        )
    if stage.several_hosts:
        parser.add_argument(
            "--coordinator", metavar="HOST:PORT", help="of host 0, if several hosts train together"
        )
        parser.add_argument(
            "--hosts", type=whole(1), default=1, metavar="N", help="how many they are"
        )
        parser.add_argument(
            "--host", type=whole(0), default=0, metavar="N", help="which of them this is, from 0"
        )
    parser.add_stopped()


def run(options: argparse.Namespace) -> None:
    """Does the stage. Raises ConfigError, DataError or SimulationError."""
    stage, path = console.STAGES[options.command], workdir(options)
    hosts = console.Hosts()
    if stage.several_hosts:
        hosts = console.Hosts(options.coordinator or "", options.hosts, options.host)
    number = None if stage.first_round is None else options.round
    console.run_stage(stage, configurations.chosen(options, path), path, number, hosts)
