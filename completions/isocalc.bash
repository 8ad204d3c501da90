# Completion of isocalc in bash.
_isocalc_completion() {
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
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=${current%%=*}=
        current=${current#*=}
    fi
    if [[ $COMP_WORDBREAKS == *:* && $current == *:* ]]; then
        cut=${current%"${current##*:}"}
    fi
    COMPREPLY=()
    for completion in $(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        _ISOCALC_COMPLETE=bash_complete "$1" 2>/dev/null); do
        IFS=, read -r type value <<<"$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$prefix${value#"$cut"}") ;;
        esac
    done
}

complete -o nosort -F _isocalc_completion isocalc
