"""The root command: its verbs, and errors as one line with a hint.

A traceback is shown only with --traceback.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence

import click

from zoo_core.cli.command import Group, Settings
from zoo_core.cli.completion import answer
from zoo_core.cli.messages import on_stderr
from zoo_core.errors import ZooError
from zoo_core.text import printable, printable_lines
from zoo_core.version import __version__

__all__ = ["root", "run"]

VERBS = {
    "list": "Models by name: family, density type, likelihood, status.",
    "info": "Everything that is known of a model, without its weights.",
    "sample": "Draw events from a model into a PNG grid or an npz file.",
    "likelihood": "Score a data set: log p with its kind, bits per dimension.",
    "evaluate": "Measure a model: likelihood, sample quality, speed, beside a null baseline.",
    "compare": "Models side by side: one table, one HTML report.",
    "compress": "Code events losslessly by a model, in the bits that its likelihood says.",
    "decompress": "The events of a compressed file, bit for bit.",
    "choose": "Train one model of each family on your data, and say which serves what.",
    "train": "Train a model by a recipe.",
    "pull": "Fetch weights from the Hub, and pin what they were.",
    "push": "Publish a model on the Hub, in one commit.",
    "serve": "Serve a folder of models as the Hub would.",
    "convert": "Checkpoints of others into safetensors and models.",
    "export": "A model's function as a torch.export or ONNX program.",
    "cache": "Downloaded weights: list, remove, prune, verify.",
    "data": "Data sets: events, splits, licences.",
    "plugins": "What is installed, what is broken, and why.",
    "demo": "Bundled models in a browser: sample, score, compare, interpolate.",
    "doctor": "What runs here: torch, kernels, plugins, folders.",
    "completion": "Completion of verbs, options and names for bash and zsh.",
}

_INTERRUPTED = 130
_BROKEN_PIPE = 141

_EPILOG = """\b
Exit codes: 0 ok, 1 unexpected error, 2 usage, 3 unknown name, 4 plugin,
5 network or offline, 6 integrity, 7 bad data, config or numbers, 130 interrupted.

Global options may stand before or after the verb."""


@click.command(
    "zoo",
    cls=Group,
    lazy=VERBS,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 99},
)
@click.version_option(__version__, prog_name="zoo", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context) -> None:
    """Generative models that say what kind of density they have."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code, whatever is raised."""
    settings = Settings(json="--json" in argv, traceback="--traceback" in argv)
    if (code := answer(root)) is not None:
        return code
    color = False if os.environ.get("NO_COLOR") else None  # no-color.org: "and not empty"
    try:
        with (
            on_stderr(quiet=lambda: settings.quiet),
            root.make_context("zoo", list(argv), obj=settings, color=color) as context,
        ):
            root.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        return _broken_pipe()
    except ZooError as error:
        return _report(settings, error, error.message, error.command, error.exit_code)
    except click.ClickException as error:
        return _report(settings, error, error.format_message(), _usage_hint(error), 2)
    except ModuleNotFoundError as error:
        text = f"this needs {error.name}, which cannot be imported ({error})."
        return _report(settings, error, text, "zoo doctor says what is missing", 4)
    except Exception as error:
        text = f"unexpected {type(error).__name__}: {error}"
        hint = "run it again with --traceback, and report what that prints"
        return _report(settings, error, text, hint, 1)


def _report(
    settings: Settings, error: Exception, message: str, hint: str | None, code: int
) -> int:
    if settings.traceback:
        click.echo(printable_lines("".join(traceback.format_exception(error))), err=True)
    if settings.json:
        name = "UsageError" if isinstance(error, click.ClickException) else type(error).__name__
        record = {"error": name, "message": message, "hint": hint, "exit_code": code}
        click.echo(json.dumps(record), err=True)
        return code
    click.echo(f"zoo: error: {printable(' '.join(message.split()))}", err=True)
    if hint:
        click.echo(f"hint: {printable_lines(hint)}", err=True)
    return code


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'zoo'} --help"


def _interrupted() -> int:
    click.echo("zoo: interrupted", err=True)
    return _INTERRUPTED


def _broken_pipe() -> int:
    """The reader has closed our output; write nothing more, not even at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return _BROKEN_PIPE
