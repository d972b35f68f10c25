"""`zoo demo`: the bundled models in a browser, on this machine alone."""

import os
import sys
import tempfile
import threading
from pathlib import Path

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.printing import remark, show
from zoo_core.errors import UsageError

__all__ = ["command"]

MAX_UPLOAD = "4mb"


@click.command("demo", cls=Command, example="zoo demo --open")
@click.option("--host", default="127.0.0.1", help="Address to listen on (default: this machine).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port (default: a free one).")
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
@click.pass_obj
def command(settings: Settings, host: str, port: int | None, browse: bool) -> None:
    """Sample, score, compare and interpolate bundled models in a browser, until interrupted.

    Nothing is downloaded and no other machine is asked anything. Whoever reaches the address can
    run the models.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
    try:
        import gradio

        from zoo_core.cli.demo.page import page
    except ImportError as error:
        raise UsageError(
            f"the demo needs packages that are not installed ({error.name}).",
            hint="pip install 'density-zoo[demo]'",
        ) from error
    with tempfile.TemporaryDirectory(prefix="zoo-demo-") as folder:
        blocks = page(settings, Path(folder))
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                inbrowser=browse,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=MAX_UPLOAD,
                footer_links=[],
                ssr_mode=False,
                enable_monitoring=False,
                theme=gradio.themes.Default(),
            )
        except OSError as error:
            raise UsageError(f"{host}:{port or '?'} cannot be listened on ({error}).") from error
        show(settings, {"url": url}, [url])
        remark(settings, "Ctrl-C ends it")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)
