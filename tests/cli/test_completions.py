"""The scripts in completions/ are the commands' own, and work in their shells."""

import shutil
from pathlib import Path

import pytest
from running import shell

from isocalc.activations.catalogue import FAMILIES
from isocalc.cli import completions
from isocalc.cli.group import COMMANDS

FOLDER = Path(__file__).parents[2] / "completions"


@pytest.mark.parametrize("name", completions.SCRIPTS)
def test_scripts_are_fresh(name):
    assert (FOLDER / name).read_text() == completions.script(name)


def test_the_generator_writes_them(tmp_path):
    completions.main(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(completions.SCRIPTS)


# What the shell has read before the key is pressed, and what it then offers for the last word.
CASES = {
    "isocalc den": ["density"],
    "isocalc ": list(COMMANDS),
    "isocalc density --summ": ["--summary"],
    "isocalc density --act ta": ["tanh", "tanhshrink"],
    "isocalc density --act ": [*FAMILIES, "all"],
    "isocalc density --act relu,ta": ["relu,tanh", "relu,tanhshrink"],
    "isocalc density --act leaky_relu:0.2,tanhs": ["leaky_relu:0.2,tanhshrink"],
    "isocalc density --act=leaky_relu:0.2,tanhs": ["--act=leaky_relu:0.2,tanhshrink"],
    "isocalc param --arch ": ["resnet", "feedforward"],
    "isocalc mc --seed 1 --seed 2 -o x --checkpoint x --act relu --act tanhs": ["tanhshrink"],
    "isocalc guide th": ["theory"],
}

# Bash cuts the words it hands over at the letters of COMP_WORDBREAKS, and replaces the last piece.
BASH = r"""
source {script}
COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}}
cut=${{COMP_LINE//=/ = }} cut=${{cut//:/ : }}
read -ra COMP_WORDS <<<"$cut"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_isocalc_completion isocalc
last=${{COMP_LINE##* }}
[[ $last == *[=:]* ]] && before=${{last%"${{last##*[=:]}}"}}
for reply in "${{COMPREPLY[@]}}"; do echo "$before$reply"; done
"""

# The widgets of zsh exist while a key is handled only: they print what they are given.
ZSH = r"""
compdef() {{ }}
compset() {{ before=${{words[CURRENT]%%=*}}= }}
compadd() {{ for word in ${{(P)argv[-1]}}; do print -r -- "$before$word"; done }}
_describe() {{ for word in ${{(P)argv[3]}}; do print -r -- "$before${{word%%:*}}"; done }}
words=(${{(z):-{line!r}}})
[[ {line!r} == *' ' ]] && words+=('')
CURRENT=$#words
source {script}
_isocalc_completion
true
"""

FISH = r"source {script}; complete -C {line!r} | string split -f 1 \t"

SHELLS = {"bash": (BASH, "isocalc.bash"), "zsh": (ZSH, "_isocalc"), "fish": (FISH, "isocalc.fish")}


@pytest.mark.process
@pytest.mark.parametrize("name", SHELLS)
@pytest.mark.parametrize("line", CASES)
def test_completion(name, line, tmp_path):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    template, script = SHELLS[name]
    (tmp_path / "session").write_text(template.format(script=FOLDER / script, line=line))
    options = {"bash": "--norc", "zsh": "-f", "fish": "--no-config"}[name]
    done = shell(f"{name} {options} {tmp_path}/session", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert done.stderr == ""
    offered = done.stdout.split("\n")[:-1]
    # fish sorts.
    assert sorted(offered) == sorted(CASES[line]) if name == "fish" else offered == CASES[line]
