"""Completion for bash, zsh and fish: ``python -m isocalc.cli.completions DIR`` writes the scripts.

They speak click's protocol. Its own scripts cut a list at its commas (fish) and a word at its colons (bash),
and lose ``--option=`` before a value; lists of activations have all of these.
"""

import sys
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)


class _Bash(BashComplete):
    source_template = r"""# Completion of %(prog_name)s in bash.
%(complete_func)s() {
    local IFS=$'\n' current cut= prefix= completion type value i
    local -a words=()
    # Readline cuts words at = and :, the shell does not.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i > 1)) && [[ ${COMP_WORDS[i]} == [=:]* || ${COMP_WORDS[i - 1]} == *[=:] ]]; then
            words[-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    current=${words[-1]}
    if [[ $current == --*=* ]]; then
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=${current%%%%=*}=
        current=${current#*=}
    fi
    if [[ $COMP_WORDBREAKS == *:* && $current == *:* ]]; then
        cut=${current%%"${current##*:}"}
    fi
    COMPREPLY=()
    for completion in $(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        %(complete_var)s=bash_complete "$1" 2>/dev/null); do
        IFS=, read -r type value <<<"$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$prefix${value#"$cut"}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Zsh(ZshComplete):
    source_template = r"""#compdef %(prog_name)s
# Completion of %(prog_name)s in zsh.

%(complete_func)s() {
    local -a response plain described
    local type value help
    (( $+commands[%(prog_name)s] )) || return 1
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    [[ $words[CURRENT] == --*=* ]] && compset -P '*='
    for type value help in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) if [[ $help == _ ]]; then plain+=("$value"); else described+=("$value:$help"); fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described
    (( $#plain )) && compadd -V unsorted -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Fish(FishComplete):
    source_template = r"""# Completion of %(prog_name)s in fish.
function %(complete_func)s
    set -l word (commandline -ct)
    set -l prefix (string match -r -- '^--[^=]+=' $word)
    for completion in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=(commandline -ct) %(prog_name)s 2>/dev/null)
        set -l parts (string split -m 1 , -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo -- "$prefix$parts[2]"
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


SCRIPTS: dict[str, type[ShellComplete]] = {
    "isocalc.bash": add_completion_class(_Bash),
    "_isocalc": add_completion_class(_Zsh),
    "isocalc.fish": add_completion_class(_Fish),
}


def script(name: str) -> str:
    """Return the text of one of `SCRIPTS`."""
    shell = SCRIPTS[name](click.Command("isocalc"), {}, "isocalc", "_ISOCALC_COMPLETE")
    return shell.source_template % shell.source_vars()


def main(folder: str) -> None:
    """Write the scripts into a folder."""
    for name in SCRIPTS:
        Path(folder, name).write_text(script(name), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
