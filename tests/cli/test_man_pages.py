"""The manual pages are the commands' own, whole, and roff reads them."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from isocalc.cli import man_pages
from isocalc.cli.group import isocalc

FOLDER = Path(__file__).parents[2] / "isocalc" / "man"


@pytest.mark.parametrize("title", man_pages.TITLES)
def test_pages_are_fresh(title):
    assert (FOLDER / f"{title}.1").read_text() == man_pages.page(man_pages.TITLES[title])


def test_the_generator_writes_them(tmp_path):
    man_pages.main(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{title}.1" for title in man_pages.TITLES
    )


@pytest.mark.parametrize("title", man_pages.TITLES)
def test_a_reader_sees_every_word_of_the_help(title):
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=10000n", "-rHY=0", FOLDER / f"{title}.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    name = man_pages.TITLES[title]
    context = click.Context(isocalc, info_name="isocalc", **isocalc.context_settings)
    command = isocalc if name is None else isocalc.get_command(context, name)
    shown = {*done.stdout.split(), "Usage:", "Options:", "Commands:", "Topics:", "Examples:", "--help"}
    context = click.Context(
        command, info_name=name or "isocalc", max_content_width=10000, terminal_width=10000
    )
    assert set(command.get_help(context).split()) - shown == set()


@pytest.mark.parametrize("name", [name for name in man_pages.TITLES.values() if name is not None])
def test_every_option_says_what_it_does(name):
    command = isocalc.get_command(click.Context(isocalc), name)
    page = man_pages.page(name)
    for option in command.params:
        if isinstance(option, click.Argument):
            continue  # told in the text
        assert option.help, option.name
        for spelling in option.opts:
            assert spelling.replace("-", r"\-") in page
