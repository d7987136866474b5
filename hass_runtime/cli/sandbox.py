"""`hass sandbox`: an embedded cluster to look at, to break, and to see HASS repair."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

DOWN_SECONDS = 40.0

# Command -> what it does, one a line in --help. The events are those of the scenario files.
HOST_EVENTS = {
    "power-cut": "Take the power from HOST: everything in it is dead at once; its BMC lives.",
    "power-restore": "Give HOST its power back and boot it.",
    "os-hang": "Make the operating system of HOST stand still.",
    "os-restore": "Let a hung HOST go on.",
    "network-cut": "Cut HOST off from the network; its instances run on.",
    "network-restore": "Connect HOST again.",
    "bmc-cut": "Make the BMC of HOST silent.",
    "bmc-restore": "Let the BMC of HOST answer again.",
    "bmc-lies": "Make the BMC of HOST say off whatever is, and obey nothing.",
    "bmc-honest": "Make the BMC of HOST honest again.",
    "agent-stop": "Stop the HASS agent on HOST.",
    "agent-start": "Start the HASS agent on HOST.",
}
SERVICE_EVENTS = {
    "service-stop": "Stop a service on HOST (nova-compute, libvirtd or qemu).",
    "service-start": "Start a service on HOST (nova-compute, libvirtd or qemu).",
}
GLOBAL_EVENTS = {
    "nova-api-cut": "Make the Nova API refuse everything.",
    "nova-api-restore": "Let the Nova API answer again.",
    "controller-kill": "Kill the controller with SIGKILL.",
    "controller-start": "Start the controller again.",
    "controller-network-cut": "Cut the controller off from all hosts and BMCs.",
    "controller-network-restore": "Connect the controller again.",
    "database-cut": "Lock the controller's database: nothing can be written.",
    "database-restore": "Unlock the database again.",
}


def fail(message: str) -> NoReturn:
    """One line on stderr, exit status 1."""
    click.echo(f"hass sandbox: {message}", err=True)
    sys.exit(1)


@click.group()
def sandbox() -> None:
    """An embedded cluster: real Nova, real BMCs, real agents; no root, nothing left behind."""


def _ask(do: str, **arguments: Any) -> Any:
    """One question to the running sandbox; ends the command with one line when there is none."""
    from hass_runtime.sandbox import control, pointer

    try:
        return control.call(pointer.find_running(), do, **arguments)
    except (control.ControlError, pointer.SandboxError) as error:
        fail(str(error))


def interruptible() -> None:
    """SIGTERM and SIGHUP end a foreground sandbox the way Ctrl-C does: cleanly.

    SIGINT too where a shell has it ignored (for what it starts in the background); nohup is respected.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


def uninterrupted() -> None:
    """From here on ending takes its (bounded) time: a second Ctrl-C must not leave half of it behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@sandbox.command()
@click.option("--hosts", type=click.IntRange(1, 200), default=3, show_default=True, help="How many hosts.")
@click.option("--instances", type=click.IntRange(0), default=6, show_default=True, help="How many instances.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="A new or empty directory for it.")
@click.option("--no-controller", is_flag=True, help="Start no controller: bring your own.")
@click.option("--spawn-seconds", type=click.FloatRange(0), help="How long an instance takes to start.")
@click.option("--bmc", "bmc_kind", type=click.Choice(["ipmi_sim", "pyghmi"]), help="Kind of BMC.")
def up(
    hosts: int,
    instances: int,
    directory: Path | None,
    no_controller: bool,
    spawn_seconds: float | None,
    bmc_kind: str | None,
) -> None:
    """Start a sandbox in the foreground; Ctrl-C ends it."""
    from hass_runtime.sandbox import cluster, layout, pointer

    interruptible()
    box = None
    try:
        box = cluster.Sandbox(
            hosts=hosts,
            instances=instances,
            directory=directory,
            controller=not no_controller,
            spawn_seconds=spawn_seconds,
            bmc_kind=bmc_kind,
            log=lambda line: click.echo(f"  {line}"),
        )
        click.echo("Starting the sandbox")
        box.start()
        click.echo(look_around(box.layout.rest_url))
        box.down_requested.wait()
    except KeyboardInterrupt:
        click.echo()
    except (pointer.SandboxError, layout.LayoutError) as error:
        fail(str(error))
    finally:
        uninterrupted()
        if box is not None:
            click.echo("Ending the sandbox")
            box.stop()


def look_around(rest_url: str, dead: str = "compute2") -> str:
    """What to do with a running sandbox."""
    lines = (
        "",
        "The sandbox is up. In another terminal:",
        '  eval "$(hass sandbox env)"            addresses and credentials for this shell',
        "  hass status                           what HASS sees of the hosts",
        "  hass sandbox guests                   which instance really runs where",
        f"  hass sandbox power-cut {dead}       break something (hass sandbox --help lists more)",
        "  hass incidents                        what HASS did about it",
        "  openstack server list --long          what Nova thinks (python-openstackclient)",
        f"  curl {rest_url}/v1/hosts",
        "Ctrl-C, or hass sandbox down, ends it.",
    )
    return "\n".join(lines)


@sandbox.command()
def down() -> None:
    """End the running sandbox and wait until it is gone."""
    pid = int(_ask("down")["pid"])
    deadline = time.monotonic() + DOWN_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    fail(f"process {pid} has not ended after {DOWN_SECONDS:.0f} s")


FORMAT = click.option(
    "-f", "--format", "kind", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@sandbox.command()
@FORMAT
def status(kind: str) -> None:
    """What the hosts of the sandbox are made to do, and what of them runs."""
    data = _ask("status")
    if kind == "json":
        click.echo(json.dumps(data, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"sandbox {data['dir']}", title_justify="left")
    for column in ("host", "address", "power", "OS", "network", "BMC", "agent", "nova-compute"):
        table.add_column(column)
    for host in data["hosts"]:
        table.add_row(
            host["host"],
            host["address"],
            _light(host["powered"], "on", "off"),
            _light(not host["hung"], "runs", "hangs") if host["powered"] else "-",
            _light(host["network"], "up", "down"),
            _light(host["bmc_runs"] and not host["bmc_lies"], "ok", "lies" if host["bmc_runs"] else "silent"),
            _light(host["agent_pid"] is not None, "runs", "-"),
            _light(host["nova_compute"], "up", "-"),
        )
    console = Console()
    console.print(table)
    controller = (
        f"process {data['controller_pid']}, {data['api']}" if data["controller_pid"] else "does not run"
    )
    console.print(f"controller: {controller}")


def _light(good: bool, yes: str, no: str) -> str:
    return f"[green]{yes}[/]" if good else f"[red]{no}[/]"


@sandbox.command()
@FORMAT
def guests(kind: str) -> None:
    """Which instance really runs on which hosts, whatever Nova believes."""
    data = _ask("guests")
    if kind == "json":
        click.echo(json.dumps(data, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from hass_runtime.sandbox.cluster import running_on

    table = Table()
    table.add_column("instance")
    table.add_column("runs on")
    for name, hosts in sorted(running_on(data).items()):
        style = "green" if len(hosts) == 1 else "red"
        table.add_row(name, f"[{style}]{', '.join(hosts) or 'no host'}[/]")
    Console().print(table)


@sandbox.command()
def env() -> None:
    """Print exports for a shell: eval "$(hass sandbox env)"."""
    for name, value in _ask("exports").items():
        click.echo(f"export {name}={shlex.quote(str(value))}")


@sandbox.command()
@click.option("--keep", is_flag=True, help="Leave the sandbox running afterwards, until Ctrl-C.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("hass-report.html"),
    show_default=True,
    help="Where to write the incident's report.",
)
def demo(keep: bool, report: Path) -> None:
    """Cut the power of a compute host and watch HASS bring its instances back elsewhere."""
    from hass_runtime.sandbox import demo as show

    interruptible()
    sys.exit(show.run(keep, report, look_around, uninterrupted))


@sandbox.command()
@click.argument("scenario", metavar="SCENARIO.yml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--quiet", "-q", is_flag=True, help="Only what came of it, not what happened.")
@click.option("--keep", is_flag=True, help="Leave the sandbox running afterwards, until Ctrl-C.")
def play(scenario: Path, as_json: bool, quiet: bool, keep: bool) -> None:
    """Play a scenario file in an embedded cluster made for it, in real time.

    Exit status: 0 when every expectation held and no safety rule was broken, 1 otherwise, 2 for wrong usage
    or a file that cannot be used here.
    """
    from hass_runtime.sandbox import playing

    interruptible()
    sys.exit(playing.run(scenario, as_json, quiet, keep, look_around, uninterrupted))


def _host_event(name: str, text: str) -> Callable[[str], None]:
    @sandbox.command(name, help=text, short_help=text)
    @click.argument("host")
    def command(host: str) -> None:
        _ask(name.replace("-", "_"), host=host)

    return command


def _service_event(name: str, text: str) -> Callable[[str, str], None]:
    @sandbox.command(name, help=text, short_help=text)
    @click.argument("host")
    @click.argument("service", default="nova-compute")
    def command(host: str, service: str) -> None:
        _ask(name.replace("-", "_"), host=host, service=service)

    return command


def _global_event(name: str, text: str) -> Callable[[], None]:
    @sandbox.command(name, help=text, short_help=text)
    def command() -> None:
        _ask(name.replace("-", "_"))

    return command


for _make, _events in (
    (_host_event, HOST_EVENTS),
    (_service_event, SERVICE_EVENTS),
    (_global_event, GLOBAL_EVENTS),
):
    for _name, _text in _events.items():
        _make(_name, _text)
