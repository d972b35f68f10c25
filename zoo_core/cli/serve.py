"""`zoo serve`: serve a folder of models by the Hub's protocol, for a network without internet."""

import socket
import sys
from pathlib import Path

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import show
from zoo_core.errors import UsageError

__all__ = ["command"]


@click.command("serve", cls=Command, example="zoo serve . --port 8123")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", help="Address to listen on (default: this machine).")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, help="0: any free one.")
@click.option("--certfile", type=click.Path(path_type=Path), help="Certificate, for https.")
@click.option("--keyfile", type=click.Path(path_type=Path), help="Its key.")
@click.pass_obj
def command(
    settings: Settings,
    folder: Path,
    host: str,
    port: int,
    certfile: Path | None,
    keyfile: Path | None,
) -> None:
    """Serve the models in FOLDER/ORG/NAME/, reading only, until interrupted.

    Prints the HF_ENDPOINT that clients need. Whoever reaches the address can read every model.
    """
    if keyfile is not None and certfile is None:
        raise UsageError("--keyfile needs its certificate; this would be http.", hint="--certfile")
    try:
        import uvicorn

        from zoo_core.weights.serve import application
    except ImportError as error:
        raise UsageError(
            f"serving needs packages that are not installed ({error.name}).",
            hint="pip install 'density-zoo[serve]'",
        ) from error
    app = application(folder)
    listening = _listen(host, port)
    scheme = "https" if certfile else "http"
    url = f"{scheme}://{_shown(host)}:{listening.getsockname()[1]}"
    show(settings, {"endpoint": url, "folder": str(folder)}, [f"export HF_ENDPOINT={url}"])
    sys.stdout.flush()
    config = uvicorn.Config(
        app,
        log_level="error" if settings.quiet else "warning",
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        server_header=False,
        timeout_keep_alive=30,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be listened on ({error.strerror or error}).",
            hint="choose another --port or --host",
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
