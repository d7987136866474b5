"""The `hass` command: a table of commands, each imported when it is called for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import cast

import click

from hass_runtime import __version__


@dataclass(frozen=True)
class Entry:
    """Where a command is (``module:attribute``) and its line in ``hass --help``."""

    target: str
    help: str


COMMANDS = {
    "status": Entry("hass_runtime.cli.views:status", "How the hosts are, and what goes on."),
    "incidents": Entry("hass_runtime.cli.views:incidents", "List incidents, the newest first."),
    "incident": Entry("hass_runtime.cli.views:incident", "Show one incident, or write a report of it."),
    "readiness": Entry(
        "hass_runtime.cli.outlook:readiness", "Would everything come back if a host died now?"
    ),
    "plan": Entry("hass_runtime.cli.outlook:plan", "Say what would be done about a failure, and do nothing."),
    "explain": Entry("hass_runtime.cli.explain:explain", "Say why an incident was decided as it was."),
    "replay": Entry("hass_runtime.cli.explain:replay", "Judge an incident again, by another policy."),
    "disarm": Entry("hass_runtime.cli.switch:disarm", "Stop HASS from acting; it goes on watching."),
    "arm": Entry("hass_runtime.cli.switch:arm", "Let HASS act again."),
    "maintenance": Entry("hass_runtime.cli.orders:maintenance", "Take a host out of service, or end that."),
    "confirm-fenced": Entry("hass_runtime.cli.orders:confirm_fenced", "Give your word that a host is off."),
    "restore": Entry("hass_runtime.cli.orders:restore", "Bring a host back into service."),
    "failback": Entry("hass_runtime.cli.failback:failback", "Bring home what was moved away from a host."),
    "orders": Entry("hass_runtime.cli.views:orders", "List what people have ordered."),
    "protect": Entry("hass_runtime.cli.protection:protect", "Protect one instance, whatever the rules say."),
    "unprotect": Entry("hass_runtime.cli.protection:unprotect", "Leave one instance alone, from now on."),
    "protection": Entry("hass_runtime.cli.protection:protection", "List what is protected, and why."),
    "policy": Entry("hass_runtime.cli.policy:policy", "Check the symptom table, and explain what it says."),
    "simulate": Entry("hass_runtime.cli.simulate:simulate", "Run a scenario in a made-up world."),
    "controller": Entry("hass_runtime.cli.controller:controller", "Run the controller (hass.service)."),
    "agent": Entry("hass_runtime.cli.agent:agent", "Run a compute host's agent (detectionagent.service)."),
    "config": Entry("hass_runtime.cli.config:config", "Check configuration files and print examples."),
    "sandbox": Entry("hass_runtime.cli.sandbox:sandbox", "Try it all on this machine: an embedded cluster."),
}


class LazyGroup(click.Group):
    """A group whose help needs none of its commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, "version"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.target.partition(":")
        try:
            return cast(click.Command, getattr(importlib.import_module(module), attribute))
        except ModuleNotFoundError as exc:
            if exc.name and exc.name.partition(".")[0] == "hass_runtime":
                raise
            raise click.ClickException(
                f"`hass {cmd_name}` needs the Python package {exc.name}, which is not installed here:"
                " install hass-runtime[controller] (or [agent], [sandbox])"
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, entry.help) for name, entry in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*rows, ("version", "Print the version.")])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hass", message="%(prog)s %(version)s")
def main() -> None:
    """HASS: high availability for OpenStack instances.

    Exit status: 0 done, 1 failed, 2 wrong usage.
    """


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"hass {__version__}")


if __name__ == "__main__":
    main(prog_name="hass")
