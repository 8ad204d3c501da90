"""The group of commands: loads the one that is called and turns every outcome into an exit code."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

import click

from isocalc import __version__
from isocalc.cli.messages import told
from isocalc.errors import InvalidInputError, IsocalcError, one_line, shortened

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


COMMANDS = {
    "param": "The parameter that fixes the spectrum, and signal propagation.",
    "density": "The limiting density of the singular values.",
    "mc": "Simulate networks and hold them against the theory.",
    "init": "The initialisation that gives the spectrum which is wanted.",
    "measure": "A PyTorch module of your own, with the theory beside it.",
    "acts": "The activations isocalc knows.",
    "guide": "The manual: a tour, each command, the theory, a glossary.",
}
_TOO_LARGE = (
    "a number on the way to the answer does not fit a double",
    "this computation does not fit in memory",
)


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, most wanted first."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, ``None`` where there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"isocalc.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run; refuse an unknown one with the nearest name."""
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # noqa: PLC0415 - only needed to refuse

            near = get_close_matches(args[0], COMMANDS, 1)
            advice = f"Did you mean {near[0]}?" if near else "See isocalc --help."
            raise click.UsageError(
                f"COMMAND must be one of {', '.join(COMMANDS)}, got {args[0]!r}. {advice}", ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, examples, commands and options, in this order."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_epilog(ctx, formatter)
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Return the commands and options that begin so, without importing any command."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only to complete

        commands = [
            CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run the command line and exit, with isocalc's exit codes and one-line messages."""
        if not standalone_mode:
            extra["windows_expand_args"] = windows_expand_args
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        name = prog_name or "isocalc"
        try:
            if "_ISOCALC_COMPLETE" in os.environ:
                import_module("isocalc.cli.completions")
            self._main_shell_completion(extra, name, complete_var)
            code = self._run(list(sys.argv[1:] if args is None else args), name, extra)
        except (KeyboardInterrupt, click.Abort):
            code = 130
        return sys.exit(code)

    def _run(self, args: list[str], prog_name: str, extra: dict[str, Any]) -> int:
        code: int = 0
        try:
            try:
                with self.make_context(prog_name, args, **extra) as ctx:
                    self.invoke(ctx)
            except click.exceptions.Exit as stop:
                code = stop.exit_code
            if sys.stdout is not None:
                sys.stdout.flush()
        except InvalidInputError as error:
            return _complain(told(error), 2)
        except IsocalcError as error:
            return _complain(told(error), 1)
        except click.ClickException as error:
            return _complain(_in_our_words(error), error.exit_code)
        except OSError as error:
            return _cannot_write(error)
        except (MemoryError, OverflowError) as error:
            return _complain(_TOO_LARGE[isinstance(error, MemoryError)], 1)
        return code


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  isocalc density --act tanh --depth 100        # singular values, drawn too
  isocalc param --act relu,tanh --depth 10,100  # what fixes them
  isocalc mc --act tanh --depth 50 --width 200  # do real networks have them?
  isocalc init --act gelu --target-c 0.5        # which sigma_w gives them?
  isocalc measure model:make --input-shape 784  # and your own PyTorch model?
  isocalc guide tour                            # what does all of this mean?""",
)
@click.version_option(__version__, prog_name="isocalc", message="%(prog)s %(version)s")
@click.pass_context
def isocalc(ctx: click.Context) -> None:
    """Singular values of a deep network's Jacobian at random initialisation."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _complain(message: str, code: int) -> int:
    """Write a one-line message to standard error and return ``code``."""
    try:
        click.echo("Error: " + one_line(message), err=True)
    except OSError:  # nobody is left to read it
        _give_up(sys.stderr)
    return code


def _in_our_words(error: click.ClickException) -> str:
    """Return the message of an error of click's in the form of the others, with what to do."""
    message = error.format_message()
    ctx = getattr(error, "ctx", None)
    see = f"See {ctx.command_path if ctx else 'isocalc COMMAND'} --help."
    if isinstance(error, click.BadOptionUsage) and message.endswith("requires an argument."):
        return f"{error.option_name} must be given a value. {see}"
    extra = re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", message, re.DOTALL)
    if extra:
        return f"Every value must belong to an option, got {shortened(repr(extra[1]))}. {see}"
    return message


def _give_up(stream: TextIO) -> None:
    """Keep the interpreter from trying again on its way out, which would set another exit code."""
    with suppress(OSError, AttributeError):  # it is closed, or not a file
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _cannot_write(error: OSError) -> int:
    """Return the exit code of a failed write."""
    _give_up(sys.stdout)
    if error.errno == errno.EPIPE:
        return 141
    place = error.filename or "standard output"
    return _complain(f"cannot write to {place}: {error.strerror or error}", 1)
